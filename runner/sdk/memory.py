"""What steps gave in earlier attempts, as far as the engine has said it ahead."""

from collections.abc import Collection, Sequence
from heapq import heappop, heappush
from typing import Any, Optional

from runner.sdk.wire import Message


class Memory:
    """Answers the steps that the workflow asks for again, in the order in which they ended then.

    A thousand of them are so answered at home, without a message there and one back for each.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], tuple[int, Message]] = {}
        self._asked: dict[tuple[str, int], int] = {}
        self._named: dict[str, int] = {}
        self._due: list[tuple[int, int, Message]] = []
        self._learnt = 0

    def learn(self, steps: Sequence[dict[str, Any]]) -> None:
        """They follow, in their order, on what is known already."""
        for answer in steps:
            step = (answer["name"], answer["number"])
            self._learnt += 1
            if step in self._asked:
                heappush(self._due, (self._learnt, self._asked.pop(step), answer))
            else:
                self._known[step] = self._learnt, answer

    def ask(self, id: int, name: str) -> None:
        """The workflow asks for the next step of that name."""
        number = self._named[name] = self._named.get(name, 0) + 1
        if (name, number) in self._known:
            place, answer = self._known.pop((name, number))
            heappush(self._due, (place, id, answer))
        else:
            self._asked[name, number] = id

    def take(self, waiting: Collection[int]) -> Optional[Message]:
        """The next answer for one of the steps that wait for theirs; None where only the engine can say."""
        while self._due:
            _, id, answer = heappop(self._due)
            if id in waiting:
                return {**answer, "id": id}
        return None
