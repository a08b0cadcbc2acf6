# Python's httpx: a Client, or an AsyncClient with INFLIGHT fetches at a time.

import asyncio
import os

import httpx

url, count = os.environ["URL"], int(os.environ["COUNT"])
inflight = int(os.environ.get("INFLIGHT", 1))
options = {"headers": {"Authorization": "key"}, "timeout": 30}
if "CAFILE" in os.environ:
    options["verify"] = os.environ["CAFILE"]


def take(answer):
    answer.raise_for_status()
    return len(answer.json()["buttons"])


def one_after_another():
    with httpx.Client(**options) as client:
        return sum(take(client.get(url)) for _ in range(count))


async def at_a_time():
    left = iter(range(count))
    limits = httpx.Limits(max_connections=inflight, max_keepalive_connections=inflight)
    async with httpx.AsyncClient(limits=limits, **options) as client:

        async def work():
            buttons = 0
            for _ in left:
                buttons += take(await client.get(url))
            return buttons

        return sum(await asyncio.gather(*(work() for _ in range(inflight))))


print("done", count, one_after_another() if inflight == 1 else asyncio.run(at_a_time()))
