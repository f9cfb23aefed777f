"""Models that forget exactly: experts over a frozen encoder and a deletable memory."""

from forgetnet.model.answering import Explanation
from forgetnet.model.net import ForgetNet
from forgetnet.model.requests import Pending

__all__ = ["Explanation", "ForgetNet", "Pending"]
