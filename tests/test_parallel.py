from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from soundx.parallel import Pool


def test_what_is_lent_is_nobody_elses():
    made = []

    class Busy:
        def __init__(self):
            made.append(self)
            self.taken = False

    pool = Pool(Busy)

    def use(_):
        with pool.lend() as thing:
            assert not thing.taken
            thing.taken = True
            sum(range(1000))
            thing.taken = False

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(500)))
    assert 1 <= len(made) <= 8
