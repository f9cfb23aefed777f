"""Whatever a file holds, it ends in a taxonomy or in an error that says where it is none."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgetnet import ForgetNetError, InvalidRecord, Unsupported
from forgetnet.taxonomy import Taxonomy
from forgetnet.taxonomy.tables import table_rows

WANTED = ("health", "health/allergies", "health/allergies/nuts", "work")
GLOSS = "What makes one ill."
FORMS = {
    "a.tsv": "parent\tchild\tgloss\n\thealth\n"
    f"health\tallergies\t{GLOSS}\nallergies\tnuts\n\twork\n",
    "a.csv": f'"health","allergies","{GLOSS}"\n\nallergies,nuts\n,work\r\n',
    "a.jsonl": "\n".join(
        json.dumps(edge)
        for edge in (
            {"child": "work"},
            {"parent": "health", "child": "allergies", "gloss": GLOSS},
            {"parent": "allergies", "child": "nuts"},
        )
    ),
    "a.json": json.dumps({"health": {"allergies": {"nuts": None}}, "work": []}),
    "b.json": json.dumps(
        [
            "work",
            {"name": "health", "below": [{"name": "allergies", "gloss": GLOSS, "below": ["nuts"]}]},
        ]
    ),
    "a.yaml": "health:\n  allergies:\n    - nuts\nwork:\n",
    "a.yml": "- work\n- name: health\n  below:\n    allergies: [nuts]\n",
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", FORMS)
def test_every_form_comes_to_the_same_tree(tmp_path: Path, name: str, packed: bool):
    path = tmp_path / (f"{name}.gz" if packed else name)
    data = FORMS[name].encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    told = Taxonomy.load(path)
    assert told.topics() == WANTED
    gloss = told.concepts[told.find("health/allergies")].gloss
    assert gloss == (GLOSS if GLOSS in FORMS[name] else "")
    bare = Taxonomy(tuple(c._replace(gloss="") for c in told.concepts))
    assert bare.digest() == Taxonomy.of(WANTED).digest()


BAD = [
    ("x.tsv", "a\tb\nb\ta\n", "under themselves: (a > b > a|b > a > b)"),
    ("x.tsv", "a\tb\na\tb/c\n", "line 2: the concept 'b/c' has a slash"),
    ("x.tsv", "a\t\n", "line 1: a concept's name is empty"),
    ("x.tsv", "a b c\n", "line 1: 1 columns"),
    ("x.tsv", "", "no edges"),
    ("x.csv", 'a,b\n"a,b\n', "x.csv, line 2: a quote is opened, there or before, and never closed"),
    ("x.csv", 'a,"b"c\n', "x.csv, line 1: text follows a closing quote"),
    ("x.csv", 'a,"' + "b\n" * 99_999, "x.csv, line 65537: a cell has more than 65536 char"),
    ("x.csv", 'a,"' + "b" * 66_000 + '"', "line 1: a concept's name has 66000 characters, and at"),
    ("x.csv", "a,b," + "c" * 66_000, "line 1: a gloss has 66000 characters, and at most 65536"),
    ("x.csv", "a,b,c,d\n", "line 1: 4 columns"),
    ("x.csv", "a," + "b" * 200_000, "line 1: a concept's name has 200000 characters, and at most"),
    ("x.tsv", "a\t" + "b" * 200_000, "line 1: a concept's name has 200000 characters, and at most"),
    ("x.json", '{"' + "a" * 70_000 + '": {}}', "a concept's name has 70000 characters"),
    ("x.jsonl", '{"parent": "a"}\n', 'line 1: write an object with "parent"'),
    ("x.jsonl", '{"child": "a"}\n[]\n', "line 2: write an object"),
    ("x.jsonl", '{"child": 3}\n', "line 1: a concept's name must be a string, not int"),
    ("x.jsonl", '{"child": "a", "parent": 3}\n', "line 1: .* must be a string, not int"),
    ("x.jsonl", '{"child": "a", "parent": 0}\n', "line 1: .* must be a string, not int"),
    ("x.jsonl", '{"child": "a", "parent": []}\n', "line 1: .* must be a string, not list"),
    ("x.jsonl", '{"child": "a", "gloss": []}\n{"child": "b", "gloss": 1}', "line 2: a gloss must"),
    ("x.jsonl", "child\n", "line 1 is no JSON"),
    ("x.json", "{", "is no JSON"),
    ("x.json", "{}", "no concept in it"),
    ("x.json", "7", "below 'the top' is a int"),
    ("x.json", '{"a": {"": {}}}', "name is empty"),
    ("x.json", '{"a/b": {}}', "slash in its name"),
    ("x.json", '{"a": {"b": 3}}', "below 'a/b/' is a int"),
    ("x.json", '{"a": {}, "a": {"b": {}}}', "x.json: a name stands twice"),
    ("x.json", '["a", "a"]', "'a' stands there twice"),
    ("x.json", '[["a"]]', "is no concept: write a name"),
    ("x.json", '[{"name": "a", "gloss": 3}]', "a: a gloss must be a string, not int"),
    ("x.json", '[{"name": 3}]', "must be a string, not int"),
    ("x.json", '{"a":' * 7 + "{}" + "}" * 7, "more than 6 levels, below 'a/a/a/a/a/a/'; join"),
    ("x.json", '{"a":' * 200_000 + "{}" + "}" * 200_000, "nested too deeply"),
    ("x.json", '["\\ud800"]', "half of a surrogate pair"),
    ("x.yaml", "a: &x\n  b: *x\n", "more than 6 levels"),
    ("x.yaml", "2019:\n", "must be a string, not int; in YAML, quote it"),
    ("x.yaml", "a: [\n", "x.yaml, line 2: this is no YAML"),
    ("x.yaml", "!!python/object/apply:os.getcwd []\n", "line 1: this is no YAML"),
    ("x.yaml", "[" * 100_000, "nested too deeply"),
    ("x.yaml", "just words", "below 'the top' is a str"),
    ("x.txt", "a\tb\n", "no taxonomy by its ending; give edges as .tsv"),
    ("x", "a\tb\n", "no taxonomy by its ending"),
    ("x.gz", "a\tb\n", "no taxonomy by its ending"),
    ("x.tsv.gz", "a\tb\n", "can't read .*gzip"),
]


@pytest.mark.parametrize(("name", "text", "says"), BAD, ids=range(len(BAD)))
def test_what_is_no_taxonomy_is_refused_with_where_it_is_none(tmp_path, name, text, says):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidRecord, match=says):
        Taxonomy.load(path)


@pytest.mark.parametrize("limit", [1, 1 << 17, 1 << 30])
def test_the_limit_of_the_csv_module_is_neither_changed_nor_minded(tmp_path, limit):
    """It is the whole process's, and an import may have raised it."""
    before = csv.field_size_limit(limit)
    try:
        for name in ("a.csv", "a.tsv"):
            (tmp_path / name).write_text(FORMS[name])
            assert Taxonomy.load(tmp_path / name).topics() == WANTED
        for length in (10_000, 2**16, 2**16 + 1):
            (tmp_path / "x.csv").write_text("top," + "b" * length)
            if length <= 2**16:
                assert Taxonomy.load(tmp_path / "x.csv").topics()[1] == "top/" + "b" * length
            else:
                with pytest.raises(InvalidRecord, match="line 1: a concept's name has 65537 char"):
                    Taxonomy.load(tmp_path / "x.csv")
        assert csv.field_size_limit() == limit
    finally:
        csv.field_size_limit(before)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_only_line_ends_end_a_line(tmp_path, end):
    """U+2028, U+0085 and the like are what a string may hold."""
    odd = "one\u2028two\x85three\x0bfour\x1cfive"
    edges = [{"child": odd.replace("\x0b", "").replace("\x1c", "")}, {"child": "b", "gloss": "c"}]
    told = end.join(json.dumps(edge, ensure_ascii=False) for edge in edges)
    (tmp_path / "x.jsonl").write_bytes(told.encode())
    assert len(Taxonomy.load(tmp_path / "x.jsonl")) == 2
    (tmp_path / "x.tsv").write_bytes(f"{odd}\tentity{end}b\t{odd}{end}".encode())
    assert Taxonomy.wordnet(tmp_path / "x.tsv").topics()[-1] == f"entity/{odd}/b"
    (tmp_path / "x.tsv").write_bytes(f"{odd}\tentity{end}{end}b".encode())
    with pytest.raises(InvalidRecord, match=r"x.tsv, line 3: write"):
        Taxonomy.wordnet(tmp_path / "x.tsv")


CELLS = st.text(st.sampled_from('ab",\n\r \u2028\0'), min_size=1, max_size=6)


ROWS = st.lists(st.lists(CELLS, min_size=2, max_size=3), max_size=5)


@given(ROWS, st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_a_table_that_the_csv_module_wrote_is_read_as_it_reads_it(rows, quoting):
    out = io.StringIO(newline="")
    csv.writer(out, quoting=quoting).writerows(rows)
    told = out.getvalue()
    assert [row for _, row in table_rows(told, tabs=False)] == rows
    assert list(csv.reader(io.StringIO(told, newline=""))) == rows


@given(st.text(st.sampled_from('ab",\n\r\t'), max_size=30), st.booleans())
def test_any_text_is_the_table_that_the_csv_module_reads_or_is_refused(text, tabs):
    how = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {"strict": True}
    try:
        found = list(table_rows(text, tabs=tabs))
    except InvalidRecord:
        with pytest.raises(csv.Error):
            list(csv.reader(io.StringIO(text, newline=""), **how))
        return
    reader = csv.reader(io.StringIO(text, newline=""), **how)
    assert found == [(reader.line_num, row) for row in reader if row]


def test_a_file_that_holds_no_text_or_is_not_there_is_refused(tmp_path):
    (tmp_path / "x.json").write_bytes(bytes(range(256)))
    with pytest.raises(InvalidRecord, match="isn't UTF-8"):
        Taxonomy.load(tmp_path / "x.json")
    with pytest.raises(InvalidRecord, match="can't read"):
        Taxonomy.load(tmp_path / "y.json")
    with pytest.raises(InvalidRecord, match="path must be a path"):
        Taxonomy.load(3)
    (tmp_path / "x.json.gz").write_bytes(gzip.compress(b"{}" * 99)[:-9])
    with pytest.raises(InvalidRecord, match="can't read"):
        Taxonomy.load(tmp_path / "x.json.gz")


def test_yaml_names_the_package_that_it_needs(tmp_path, monkeypatch):
    (tmp_path / "x.yaml").write_text("a:\n")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(Unsupported, match="PyYAML"):
        Taxonomy.load(tmp_path / "x.yaml")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["tsv", "csv", "jsonl", "json", "yaml"]), st.binary(max_size=60))
def test_any_bytes_are_a_taxonomy_or_an_error_of_our_own(tmp_path, kind, data):
    path = tmp_path / f"x.{kind}"
    path.write_bytes(data)
    try:
        told = Taxonomy.load(path)
    except ForgetNetError:
        return
    assert told.topics()


def test_the_taxonomy_that_ships_is_small_has_glosses_and_is_no_deeper_than_places_are():
    told = Taxonomy.everyday()
    assert 150 <= len(told) <= 300 and told.depth <= 6
    assert all(concept.gloss.endswith(".") for concept in told.concepts)
    assert "health/allergies/food allergies" in told and "health/nowhere" not in told
    assert told.digest() == Taxonomy.everyday().digest()


SYNSETS = [
    {"id": "1-n", "words": ["entity"], "hyper": [], "inst": [], "def": "what is"},
    {"id": "2-n", "words": ["bank", "shore"], "hyper": ["1-n"], "inst": [], "def": "of a river"},
    {"id": "3-n", "words": ["bank"], "hyper": ["1-n"], "inst": [], "def": "for money"},
    {"id": "4-n", "words": ["Thames/side"], "hyper": ["9-n"], "inst": ["2-n"], "def": "in London"},
]


def test_wordnet_is_read_from_synsets_and_names_beside_each_other_are_told_apart(tmp_path):
    path = tmp_path / "nouns.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, SYNSETS)).encode()))
    told = Taxonomy.wordnet(path)
    assert told.topics() == (
        "entity", "entity/bank", "entity/bank (3-n)", "entity/bank/Thames-side",
    )  # fmt: skip
    assert told.concepts[told.find("3-n")].gloss == "for money"
    assert told.closure("4-n") == ("entity", "entity/bank", "entity/bank/Thames-side")


def test_of_a_closure_only_the_direct_edges_are_kept(tmp_path):
    closure = [("b", "a"), ("c", "a"), ("c", "b"), ("d", "b"), ("d", "a"), ("e", "a"), ("d", "e")]
    (tmp_path / "c.tsv").write_text("\n".join(f"{child}\t{head}" for child, head in closure))
    graph = {
        "nodes": [{"id": i, "label": name} for i, name in enumerate("abcde")],
        "links": [{"source": ord(h) - 97, "target": ord(c) - 97} for c, h in closure],
    }
    (tmp_path / "c.json").write_text(json.dumps(graph))
    for name in ("c.tsv", "c.json"):
        told = Taxonomy.wordnet(tmp_path / name)
        assert told.topics() == ("a", "a/b", "a/b/c", "a/b/d", "a/e", "a/e/d")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("x.jsonl", '{"id": "1"}', "line 1 is no synset; it needs def"),
        ("x.jsonl", json.dumps({**SYNSETS[0], "words": []}), "line 1 is no synset"),
        ("x.jsonl", json.dumps({**SYNSETS[0], "hyper": ["1-n"]}), "under themselves"),
        ("x.jsonl", "", "no synset in it"),
        ("x.json", "[]", "no node-link graph"),
        ("x.json", '{"nodes": [], "links": [{"source": 1, "target": 2}]}', "no node-link graph"),
        ("x.tsv", "a b", "line 1: write a synset, a tab"),
        ("x.csv", "a,b", "no WordNet that is known by its ending"),
    ],
)
def test_what_is_no_wordnet_is_refused(tmp_path, name, text, says):
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidRecord, match=says):
        Taxonomy.wordnet(tmp_path / name)
