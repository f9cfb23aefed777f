"""Lines that keep a promise, each taken out in turn, and where that must be seen.

Knows nothing of how a mutant is tried.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FILES", "MUTANTS", "Mutant"]

_LANCE, _FORGET = "stores/forgetnet_stores/lance", "forgetnet/forget"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A line that is changed, and what is expected to fail then.

    Attributes:
        name: what is missing.
        path: of the file.
        old, new: what stands there once, and what instead.
        hunts: ``cut OPERATION``, ``twice OPERATION`` (a kill, then a cut; ``often`` looks longer),
            ``struck OPERATION`` (at system calls) or ``test NODE``.
    """

    name: str
    path: str
    old: str
    new: str
    hunts: tuple[str, ...]


FILES = "forgetnet/files.py"
MUTANTS = (
    Mutant(
        "fsync of a new file",
        FILES,
        "            _sync(fd, temporary)\n",
        "            pass\n",
        ("cut split", "cut forget"),
    ),
    Mutant(
        "fsync of its folder",
        FILES,
        "    sync_dir(path.parent)\n\n\ndef append",
        "\n\ndef append",
        ("test tests/faults/test_simulator.py -k waits_for",),
    ),
    Mutant(
        "fsync of an append",
        FILES,
        "        _sync(fd, path)\n    finally:\n        os.close(fd)\n    if created",
        "    finally:\n        os.close(fd)\n    if created",
        ("cut delete",),
    ),
    Mutant(
        "folder of a first append",
        FILES,
        "    if created:\n        sync_dir(path.parent)\n",
        "",
        ("test tests/faults/test_simulator.py -k waits_for",),
    ),
    Mutant(
        "zeros before a cut",
        FILES,
        "        _zero(fd, path, size + _HEAD, end)\n",
        "",
        ("test tests/test_files.py",),
    ),
    Mutant(
        "fsync of a cut",
        FILES,
        "        os.ftruncate(fd, size)\n        _sync(fd, path)\n",
        "        os.ftruncate(fd, size)\n",
        ("test tests/test_files.py",),
    ),
    Mutant(
        "bytes written again",
        FILES,
        "            position += os.pwrite(fd, data, position)\n",
        "            position += len(data)\n",
        ("test tests/test_files.py",),
    ),
    Mutant(
        "zeros of a shredding",
        FILES,
        "        position += os.pwrite(fd, _ZEROS[: min(len(_ZEROS), end - position)], position)\n",
        "        position = end\n",
        ("test tests/faults/test_simulator.py -k no_file_goes",),
    ),
    Mutant(
        "fsync of zeros",
        FILES,
        " position)], position)\n    _sync(fd, path)\n",
        " position)], position)\n",
        ("test tests/faults/test_simulator.py -k no_file_goes",),
    ),
    Mutant(
        "folder of what was shredded",
        FILES,
        "    if _erase(path):\n        sync_dir(path.parent)\n",
        "    _erase(path)\n",
        ("test tests/faults/test_simulator.py -k waits_for",),
    ),
    Mutant(
        "folder of a shredded tree",
        FILES,
        "        Path(folder).rmdir()\n    sync_dir(root.parent)\n",
        "        Path(folder).rmdir()\n",
        ("test tests/faults/test_simulator.py -k waits_for",),
    ),
    Mutant(
        "fsync of a piece",
        FILES,
        "                _sync(fd, Path(folder) / name)\n",
        "                pass\n",
        ("cut split",),
    ),
    Mutant(
        "fsync of a piece's folders",
        FILES,
        "        sync_dir(Path(folder))\n",
        "        pass\n",
        ("test tests/faults/test_simulator.py -k waits_for",),
    ),
    Mutant(
        "folders made durable",
        FILES,
        "        sync_dir(folder.parent)\n",
        "        pass\n",
        ("test tests/faults/test_simulator.py -k waits_for",),
    ),
    Mutant(
        "a failed fsync remembered",
        FILES,
        "        _doubtful.add(path.absolute())\n",
        "",
        ("test tests/faults/test_fsync.py",),
    ),
    Mutant(
        "no writing in doubt",
        f"{_FORGET}/execute.py",
        "        check_trusted(office.root)\n",
        "        pass\n",
        ("test tests/faults/test_fsync.py",),
    ),
    Mutant(
        "no store in doubt",
        f"{_LANCE}/engine.py",
        "        else:\n            check_trusted(self._root)\n",
        "",
        ("test tests/faults/test_fsync.py",),
    ),
    Mutant(
        "folder of pieces",
        f"{_LANCE}/fold.py",
        '        sync_dir(state.root / "pieces")\n',
        "        pass\n",
        ("cut split",),
    ),
    Mutant(
        "manifest's folder at opening",
        f"{_LANCE}/state.py",
        "        sync_dir(self.root)\n",
        "",
        ("test tests/faults/test_simulator.py -k first_rows",),
    ),
    Mutant(
        "tails at opening",
        f"{_LANCE}/state.py",
        "            rewrite_durable(tail_path(self.root, name), sizes[name])\n",
        "            pass\n",
        ("test tests/faults/test_simulator.py -k what_a_kill_left", "twice add"),
    ),
    Mutant(
        "manifest before orphans go",
        f"{_LANCE}/state.py",
        "            manifest.save(self.root)\n",
        "            pass\n",
        ("test tests/faults/test_simulator.py -k orphans_go_only", "twice add"),
    ),
    Mutant(
        "a piece read back",
        f"{_LANCE}/pieces.py",
        "    _check_whole(path, len(table))\n",
        "",
        ("test tests/faults/test_pieces.py",),
    ),
    Mutant(
        "pulse after a change",
        f"{_LANCE}/engine.py",
        "        if self._pulse is not None:\n"
        "            self._pulse.beat()\n        self._broken = False\n",
        "        self._broken = False\n",
        ("test tests/contract/test_durable.py",),
    ),
    Mutant(
        "pulse at opening",
        f"{_LANCE}/engine.py",
        "                self._pulse.beat()  # a crash",
        "                pass  # a crash",
        ("test tests/faults/test_pulse.py",),
    ),
    Mutant(
        "journal's intent",
        f"{_FORGET}/execute.py",
        "    try:\n        office.journal.open(entry)\n",
        "    try:\n        pass\n",
        ("cut forget",),
    ),
    Mutant(
        "journal's end",
        f"{_FORGET}/execute.py",
        "        office.journal.close(accepted.entry.name)\n",
        "",
        ("cut forget",),
    ),
    Mutant(
        "receipt's file",
        f"{_FORGET}/execute.py",
        "            roomy(office, receipt.save, office.root / "
        '"receipts" / f"{receipt.id}.json")\n',
        "            pass\n",
        ("cut forget",),
    ),
    Mutant(
        "ledger's line",
        f"{_FORGET}/execute.py",
        "        roomy(office, office.ledger.append, receipt.entry)\n",
        "",
        ("cut forget",),
    ),
    Mutant(
        "tombstones",
        f"{_FORGET}/execute.py",
        "    roomy(office, office.backups.note, ids, entry.plan.held)\n",
        "",
        ("cut forget, backed up",),
    ),
    Mutant(
        "tombstones beside backups",
        f"{_FORGET}/backups.py",
        "                log.mirror(place / log.path.name)\n",
        "                pass\n",
        ("cut forget, backed up",),
    ),
    Mutant(
        "fsync of a backup",
        "forgetnet/archive.py",
        "            os.fsync(file.fileno())\n",
        "",
        ("cut backup",),
    ),
    Mutant(
        "folder of a backup",
        "forgetnet/archive.py",
        "    sync_dir(target.parent)\n",
        "",
        ("test tests/faults/test_simulator.py -k waits_for",),
    ),
    Mutant(
        "what a killed backup left",
        "forgetnet/archive.py",
        "    shred_abandoned(target.parent.glob(",
        "    list(target.parent.glob(",
        ("struck backup",),
    ),
    Mutant(
        "folder of a restored memory",
        "forgetnet/restoring.py",
        "        sync_dir(target.parent)\n",
        "",
        ("test tests/faults/test_simulator.py -k waits_for",),
    ),
    Mutant(
        "files of a restored memory",
        "forgetnet/archive.py",
        "        sync_inside(to)\n",
        "",
        ("cut restore",),
    ),
    Mutant(
        "what a killed restore left",
        "forgetnet/restoring.py",
        "        shred_abandoned(target.parent.glob(",
        "        list(target.parent.glob(",
        ("struck restore",),
    ),
    Mutant(
        "folders of a new memory",
        "forgetnet/home.py",
        "            sync_dir(folder)\n        if not missing",
        "            pass\n        if not missing",
        ("test tests/faults/test_simulator.py -k waits_for",),
    ),
    Mutant(
        "folders of an opened memory",
        "forgetnet/home.py",
        "                sync_dir(folder)\n    except",
        "                pass\n    except",
        ("often forget",),
    ),
    Mutant(
        "room set aside",
        f"{_FORGET}/execute.py",
        "    office.store.reserve(plan.ids,",
        "    (plan.ids,",
        ("test tests/faults/test_reserve.py",),
    ),
)
