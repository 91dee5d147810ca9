"""Several tasks of which one failure ends all, without a group around it."""

from collections.abc import Awaitable, Callable

import trio


async def run_together(*parts: Callable[[], Awaitable[None]]) -> None:
    """Run all parts until each has ended. The first exception cancels the others and is raised as it is.

    A nursery would wrap it in a group, which would have to be taken apart wherever a caller tells errors apart.
    """
    failures: list[Exception] = []
    async with trio.open_nursery() as nursery:

        async def guarded(part: Callable[[], Awaitable[None]]) -> None:
            try:
                await part()
            except Exception as error:  # noqa: BLE001 - raised again below
                failures.append(error)
                nursery.cancel_scope.cancel()

        for part in parts:
            nursery.start_soon(guarded, part)
    if failures:
        raise failures[0]
