"""What Ray prints by itself, and what it does not."""

import io
import sys
from threading import Thread

import pytest

from harness.measuring.cluster.silence import WithoutRay, silent_ray

PARAGRAPH = "A worker died or was killed while executing a task.\nThere are some potential root causes.\n[log] raylet\n"


@pytest.mark.parametrize(
    "start", ["(raylet) ", "\x1b[36m(raylet)\x1b[0m ", "\x1b[2m\x1b[33m(raylet, ip=10.0.0.2)\x1b[0m "]
)
def test_paragraphs_of_ray_are_dropped_with_their_line_break(start: str) -> None:
    """In any colour, from any node, of any length."""
    below = io.StringIO()
    stream = WithoutRay(below)
    print("before", file=stream)
    print(start + PARAGRAPH, file=stream)
    print("after", file=stream)
    assert below.getvalue() == "before\nafter\n"


def test_what_ray_prints_from_a_thread_of_its_own_is_dropped() -> None:
    """Whatever its words are; other threads go on printing."""
    below = io.StringIO()
    stream = WithoutRay(below)
    for name in ("ray_listen_error_messages", "raised elsewhere"):
        thread = Thread(target=lambda: print("something", file=stream), name=name)
        thread.start()
        thread.join()
    assert below.getvalue() == "something\n"


@pytest.mark.parametrize(
    "text", ["a line about (raylet) in the middle\n", "\n", "(rays) of light\n", "(raylets) too\n"]
)
def test_all_else_is_passed_on(text: str) -> None:
    """To the letter."""
    below = io.StringIO()
    assert WithoutRay(below).write(text) == len(text)
    assert below.getvalue() == text


def test_streams_are_as_before_behind_the_block() -> None:
    """However it ends, and a console finds the stream that steers the terminal."""
    before = sys.stdout, sys.stderr

    def within() -> None:
        with silent_ray():
            assert sys.stderr is not before[1]
            assert sys.stderr.rich_proxied_file is getattr(before[1], "rich_proxied_file", before[1])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        within()
    assert (sys.stdout, sys.stderr) == before
