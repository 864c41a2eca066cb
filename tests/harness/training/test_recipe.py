"""Each kind of training rows has a name and gives its requests in order."""

from harness.training.recipe import RatedRequest, kind_of, requests_of
from suites.engine.encoding import EncodedPair, EncodedResponse
from suites.inputs import Request


def test_each_kind_of_rows_has_its_requests() -> None:
    """A pair gives its chosen side and then its rejected one; other rows give the one request they hold."""
    request = Request((1,), (2, 3))
    chosen, rejected = Request((1,), (2,)), Request((1,), (3,))
    pairs = [EncodedPair(EncodedResponse(chosen, 0, 1), EncodedResponse(rejected, 0, 1))]
    rated, plain = [RatedRequest(request, True), RatedRequest(request, False)], [request, request]

    assert [kind_of(rows[0]) for rows in (pairs, rated, plain)] == ["pairs", "rated answers", "answers"]
    assert requests_of(pairs) == [chosen, rejected]
    assert requests_of(rated) == requests_of(plain) == [request, request]
