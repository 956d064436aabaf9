"""Why a run stops before its answer: a person is needed, or a limit is reached."""


class Halt(Exception):
    """The run goes no further now."""


class Waits(Halt):
    """A person has to decide first: about a call that needs approval, or one whose outcome nobody knows."""

    def __init__(self, approval: str, unknown: bool, message: str) -> None:
        super().__init__(message)
        self.approval = approval
        self.unknown = unknown


class Spent(Halt):
    """A limit of the agent's budget is reached."""


class HandedOver(Halt):
    """Another agent has done the task; its answer is the run's."""

    def __init__(self, answer: str) -> None:
        super().__init__("handed over")
        self.answer = answer


class Exhausted(Halt):
    """A replay has come to the end of what was recorded."""
