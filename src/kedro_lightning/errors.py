"""Errors of the compute plugin. Each message names the setting, the value, what is allowed and the file."""

from __future__ import annotations


class ComputeError(Exception):
    """The base of every error of the plugin; the message alone is what a user needs."""


class SettingsError(ComputeError):
    """``compute.yml`` is not what it should be, or does not fit the pipeline."""


class PreflightError(ComputeError):
    """Something is missing that a rented machine would need; nothing was started."""


class BudgetError(ComputeError):
    """The money set for a run or a month does not cover what was asked, or is spent."""


class JobError(ComputeError):
    """A job ended without doing its work; the message has the reason and the last lines of its log."""


class InterruptedJobError(JobError):
    """A machine was taken away, or a job was stopped, more often than work is started again."""


class PlatformError(ComputeError):
    """The platform refused a request or did not answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        """Makes the error.

        Args:
            message: What a user needs to know.
            status: HTTP status of the answer; ``None`` without an answer.
        """
        super().__init__(message)
        self.status = status


class NotSignedInError(PlatformError):
    """There are no credentials, or the platform does not take them."""


class NotFoundError(PlatformError):
    """The platform says that it has no such thing; an outage never raises this."""


class ConflictError(PlatformError):
    """Something of this name is there already."""


class QuotaError(PlatformError):
    """No credit is left, or a limit of the account is reached."""


class TransientError(PlatformError):
    """The request may work in a moment: an outage, a cut connection, too many requests."""
