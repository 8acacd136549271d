"""asyncio: the event loop goes on while workers compute."""

import asyncio

import muster


def factorize(n):
    factors, d = [], 2
    while n > 1:
        while n % d == 0:
            factors.append(d)
            n //= d
        d += 1
    return factors


async def tick(ticks):
    while True:
        ticks.append(None)
        await asyncio.sleep(0.001)


async def main():
    ticks = []
    ticking = asyncio.create_task(tick(ticks))
    with muster.Pool(2) as pool:
        print(await pool.apply_async(factorize, (1001,)))
        print(await asyncio.wait_for(pool.map_async(factorize, range(10, 15)), timeout=30))
        async for factors in pool.aimap(factorize, range(999, 1009)):
            print(factors, end=" ")
        print()
    ticking.cancel()
    print("the loop went on meanwhile:", len(ticks) > 0)


if __name__ == "__main__":
    asyncio.run(main())
