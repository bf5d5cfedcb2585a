"""Pacing against limits that nobody tells: ours and the published laws, in simulated time; ours on a real socket.

    python -m tests.benchmarks.pacing [--seeds 20] [--only TEXT] [--real SECONDS]

Each number is that of the worst seed: least accepted (% of what the limit allows), most refused (% of the requests),
longest recovery. A fixed window aligned to the clock can be met 16 times in 15 minutes, so up to 107 % are possible.
The laws of others are given three seeds, for they are as slow to simulate as they are to compare.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence

from pipeline.clock import SystemClock
from pipeline.emulator import running_emulator
from pipeline.uploader.hints import wait_of
from pipeline.uploader.pacing import Pace
from pipeline.uploader.transport import open_transport
from tests.simulation.laws import LAWS
from tests.simulation.scenarios import SCENARIOS, Played
from tests.simulation.servers import STYLES, Style

BUDGETS = {"0.5/s": (90, 15), "2/s": (95, 8), "5/s": (95, 3), "40/s": (98, 0.5), "300/s": (98, 0.5)}
WITHOUT_REFUSALS = ("knee", "slow")
SEEDS_OF_OTHERS = 3


def cell(played: Sequence[Played]) -> str:
    """The worst of the seeds, in one line."""
    first = played[0]
    share = min(one.accepted_share for one in played) * 100
    parts = [f"{share:5.1f}"]
    if first.p95_seconds is None:
        parts.append(f"{max(one.refused_share for one in played) * 100:5.2f}")
    else:
        parts.append(f"p95 {max(one.p95_seconds or 0 for one in played):.2f} s")
    if first.recovery_seconds is not None:
        parts.append(f"{max(one.recovery_seconds or 0.0 for one in played):3.0f} s")
    if first.other_share is not None:
        parts.append(f"other {min(one.other_share or 0.0 for one in played) * 100:.0f}")
    return " ".join(parts)


def print_laws(seeds: int, only: str) -> None:
    """Scenario by law, Retry-After in seconds."""
    print("accepted %, refused % (recovery); Retry-After in seconds, at least 1")
    print(f"{'':30}" + "".join(f"{name:>24}" for name in LAWS))
    for name, scenario in SCENARIOS.items():
        if only in name:
            line = f"{name:30}"
            for law, new in LAWS.items():
                number = seeds if law == "ours" else min(seeds, SEEDS_OF_OTHERS)
                line += f"{cell([scenario(new, 'seconds', seed) for seed in range(number)]):>24}"
            print(line, flush=True)


def print_styles(seeds: int, only: str) -> None:
    """Ours, by what a refusal tells; marked where a budget of design.md is not met."""
    print("\nours, by what a refusal tells")
    print(f"{'':30}" + "".join(f"{style:>24}" for style in STYLES))
    for name, scenario in SCENARIOS.items():
        if only in name and not name.startswith(WITHOUT_REFUSALS):
            line = f"{name:30}"
            for style in STYLES:
                played = [scenario(LAWS["ours"], style, seed) for seed in range(seeds)]
                least, most = BUDGETS.get(name, (0, 100))
                is_met = all(p.accepted_share * 100 >= least and p.refused_share * 100 <= most for p in played)
                line += f"{cell(played) + ('' if is_met else ' !'):>24}"
            print(line, flush=True)


async def send_for(url: str, seconds: float, *, workers: int = 64) -> Counter[int]:
    """Post sessions to an emulator as fast as the pace allows; how often which status came."""
    clock = SystemClock()
    pace = Pace(clock, random.Random(), max_per_second=None, max_at_once=workers, max_pause_seconds=300)
    transport = open_transport(url, timeout_seconds=30, max_at_once=workers)
    headers = {"Authorization": "Bearer gsk_x", "Content-Type": "application/json"}
    statuses: Counter[int] = Counter()
    ends_at = clock.now() + seconds

    async def work(number: int) -> None:
        sent = 0
        while clock.now() < ends_at:
            async with pace.turn():
                started_at = clock.now()
                sent += 1
                body = b'{"versionId":"ver_123","isProduction":false,"customId":"%d-%d"}' % (number, sent)
                answer = await transport.send("POST", "/sessions", headers, body)
                statuses[answer.status] += 1
                if answer.status == 429:
                    pace.refused(wait_of(answer.headers), started_at)
                else:
                    pace.answered(started_at)

    working = [asyncio.create_task(work(number)) for number in range(workers)]
    await asyncio.wait(working, timeout=seconds)
    for task in working:
        task.cancel()
    await asyncio.gather(*working, return_exceptions=True)
    await transport.close()
    return statuses


HEADERS: dict[Style, str] = {
    "seconds": "retry-after-seconds",
    "date": "http-date",
    "none": "none",
    "x-ratelimit": "x-ratelimit",
}


def real(limit: float | None, seconds: float, style: Style) -> tuple[float, float]:
    """Accepted a second and the share refused, on a real socket."""
    with running_emulator(max_per_second=limit, options={"rate_limit_headers": HEADERS[style]}) as emulator:
        statuses = asyncio.run(send_for(emulator.url, seconds))
    assert set(statuses) <= {201, 429}, statuses
    return statuses[201] / seconds, statuses[429] / max(sum(statuses.values()), 1)


def print_real(seconds: float) -> None:
    """The same law against the emulator."""
    print(f"\nours on a real socket, {seconds:.0f} s each: accepted a second, refused %")
    for limit in (5.0, 40.0, 300.0, None):
        line = f"{'no limit' if limit is None else f'{limit:g}/s':30}"
        for style in STYLES if limit is not None else STYLES[:1]:
            accepted, refused = real(limit, seconds, style)
            line += f"{accepted:15.1f} {refused * 100:8.2f}"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", default="")
    parser.add_argument("--real", type=float, metavar="SECONDS", help="on a real socket, so long for each")
    options = parser.parse_args()
    started = time.monotonic()
    if options.real:
        print_real(options.real)
    else:
        print_laws(options.seeds, options.only)
        print_styles(options.seeds, options.only)
    print(f"({time.monotonic() - started:.0f} s)")


if __name__ == "__main__":
    main()
