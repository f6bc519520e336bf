"""One case of fault injection."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A fault at a point of a run, in one mode, on one warehouse."""

    warehouse: str
    mode: str
    point: str
    fault: str

    def __str__(self) -> str:
        return (
            f"{self.warehouse}, {self.mode}: {self.fault}"
            f" {f'at {self.point}' if self.point else ''}".rstrip()
        )
