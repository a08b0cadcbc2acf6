# Python's aiohttp: INFLIGHT fetches at a time over connections that are kept.

import asyncio
import os
import ssl

import aiohttp

url, count = os.environ["URL"], int(os.environ["COUNT"])
inflight = int(os.environ.get("INFLIGHT", 1))
context = None
if "CAFILE" in os.environ:
    context = ssl.create_default_context(cafile=os.environ["CAFILE"])


async def main():
    left = iter(range(count))
    connector = aiohttp.TCPConnector(limit=inflight, ssl=context)
    headers = {"Authorization": "key"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def work():
            buttons = 0
            for _ in left:
                async with session.get(url) as answer:
                    answer.raise_for_status()
                    buttons += len((await answer.json())["buttons"])
            return buttons

        return sum(await asyncio.gather(*(work() for _ in range(inflight))))


print("done", count, asyncio.run(main()))
