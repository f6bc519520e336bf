"""One case of the fault grid."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A fault at a point of one way to run, on one warehouse."""

    warehouse: str
    mode: str
    point: str
    fault: str

    def __str__(self) -> str:
        return (
            f"{self.warehouse}, {self.mode}: {self.fault}"
            f" {f'at {self.point}' if self.point else ''}".rstrip()
        )
