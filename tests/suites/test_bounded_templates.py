"""Jinja from outside: a sandbox, with bounds on steps, size and time."""

import time
from datetime import UTC, datetime

import pytest
from jinja2 import TemplateError
from jinja2.exceptions import SecurityError

import suites.bounded_templates
from suites.bounded_templates import BoundedEnvironment, TemplateBoundError, bound_chat_templates

LOOP = "{% for a in range(99999) %}"
DOUBLING = "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x BY ns.x %}{% endfor %}"
BOMBS = {
    "loops in loops": LOOP * 3 + "{% endfor %}" * 3,
    "a loop that passes over": LOOP + LOOP.replace("%}", "if false %}") + "{% endfor %}{% endfor %}",
    "a text times a number": "{{ 'a' * 10**10 }}",
    "a number times a text": "{{ 10000000000 * 'a' }}",
    "a list times a number": "{{ [1] * 10**9 }}",
    "a power": "{{ 9 ** (9 ** 9) }}",
    "doubling by +": DOUBLING.replace("BY", "+"),
    "doubling by ~": DOUBLING.replace("BY", "~"),
    "padding": "{{ 'a'.ljust(10000000000) }}",
    "padding by a filter": "{{ 'a' | center(10000000000) }}",
    "padding in a format": "{{ '{:>9999999999}'.format(1) }}",
    "padding in a format, nested": "{{ '{:>{}}'.format(1, 9999999999) }}",
    "padding in a % format": "{{ '%9999999999d' % 1 }}",
    "padding in a format filter": "{{ '%*d' | format(9999999999, 1) }}",
    "indents": "{{ ('a\n' * 1000) | indent(9999999) }}",
    "tabs": "{{ ('\t' * 1000).expandtabs(9999999) }}",
    "replaced": "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}",
    "replaced by a filter": "{{ ('a' * 1000000) | replace('a', 'b' * 1000000) }}",
    "joined": "{{ ('b' * 1000000).join(['a'] * 1000000) }}",
    "joined by a filter": "{{ (['a'] * 1000000) | join('b' * 1000000) }}",
    "squared numbers": "{% set ns = namespace(x=10) %}{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "a list of one text": "{{ ['a' * 2**20] * 4000 }}",
    "a list of one text, as a text": "{{ (['a' * 2**20] * 4000) | string | length }}",
    "a list of one text in a format": "{{ '%s' % (['a' * 2**20] * 4000,) }}",
    "a list of one text, pretty": "{{ (['a' * 2**20] * 4000) | pprint }}",
    "lists of lists, joined": "{{ [['a' * 2**20] * 4000] | join }}",
    "translated": "{{ ('a' * 2**20).translate({97: 'b' * 2**20}) }}",
    "lists added up": "{{ ([[1] * 2**12] * 2**12) | sum(start=[]) }}",
    "lists of an iterator": "{{ (['a' * 2**20] * 4000) | map('list') | list | length }}",
    "texts of an iterator, joined": "{{ ([{'x': 'a' * 2**20}] * 4000) | map(attribute='x') | join | length }}",
    "texts of an iterator, joined by a method": "{{ ''.join(([{'x': 'a' * 2**20}] * 4000) | map(attribute='x')) }}",
    "a list in capitals": "{{ (['a' * 2**20] * 4000) | upper }}",
    "texts in a list": LOOP.replace("%}", "%}{% set ns.x = ns.x + [('a' ~ a) * 2**20] %}").replace(
        "{% for", "{% set ns = namespace(x=[]) %}{% for"
    )
    + "{% endfor %}",
    "as much as two to the sixtieth": "{% set ns = namespace(x=[], y=[]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",  # noqa: E501
    "in tables": "{% set ns = namespace(x=1) %}{% for i in range(60) %}{% set ns.x = {1: ns.x, 2: ns.x} %}{% endfor %}{{ ns.x }}",  # noqa: E501
    "in tuples": "{% set ns = namespace(x=()) %}{% for i in range(60) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}{{ {ns.x: 1} }}",  # noqa: E501
    "by a call": "{% set ns = namespace(x=1) %}{% for i in range(60) %}{% set ns.x = dict(a=ns.x, b=ns.x) %}{% endfor %}",  # noqa: E501
    "looked for in a list": "{% set l = [1] * 2**25 %}{% for i in range(255) %}{{ 2 in l }}{% endfor %}",
    "a macro that calls itself": "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "bytes": "{% set x = 'a'.encode() * 2600000000 %}",
    "bytes of a row": "{{ row * 2600000000 }}",
    "bytes of a row, padded": "{{ row.ljust(2600000000) }}",
    "bytes of a row, as a list": "{{ row | list | length }}",
    "bytes of a number": "{{ (5).to_bytes(2600000000, 'big') }}",
    "bytes of a number, by a filter": "{{ (5 | attr('to_bytes'))(2600000000, 'big') }}",
    "bytes from numbers": "{{ (5).from_bytes([1] * 1000000, 'big') }}",
    "bytes in a % format": "{{ '%2999999999d'.encode() % 1 }}",
    "padding in a format of a table": "{{ '{a:>2999999999}'.format_map({'a': 1}) }}",
    "padding in a format, by a list": "{{ '{:>{x[0]}}'.format(1, x=[2999999999]) }}",
    "padding in a format, by a text": "{{ '{:{x[0]}}'.format(1, x=['>2999999999']) }}",
    "paddings in a format": "{{ ('{0:>9999999}' * 1000).format(1) }}",
    "paddings in a % format": "{{ ('%9999999d' * 1000) % ((1,) * 1000) }}",
    "a text in many fields": "{{ ('{0}' * 10000).format('a' * 2**20) }}",
    "a text in many fields of a % format": "{{ ('%(a)s' * 10000) % {'a': 'a' * 2**20} }}",
    "rounded up": "{{ 1 | round(30000000, 'ceil') }}",
    "rounded to tens": "{{ 1 | round(-30000000) }}",
    "a number of a long text": "{{ ('f' * 2**25) | int(base=16) }}",
    "numbers divided": "{{ 9 ** 300000 // 7 ** 150000 }}",
    "a number printed": "{{ 9 ** 5000 }}",
    "capitals of words": "{{ ('a ' * 16000000) | title | length }}",
    "words counted": "{{ ('a ' * 16000000) | wordcount }}",
    "words wrapped": "{{ ('a ' * 16000000) | wordwrap }}",
    "words wrapped by a long text": "{{ ('a' * 2**20) | wordwrap(1, wrapstring='b' * 2**20) }}",
    "a word wrapped": "{{ ('a' * 2**20) | wordwrap(1) | length }}",
    "texts sorted": "{{ (['B' * 2**20] * 4000) | sort | length }}",
    "tables sorted": "{{ ([{'a': 'B' * 2**20}] * 4000) | sort(attribute='a') | length }}",
    "words linked": "{{ ('a ' * 16000000) | urlize | length }}",
    "addresses linked": "{{ ('a@b.co ' * 2**17) | urlize(rel='b' * 2**20) }}",
    "tags": "{{ ('a ' * 16000000) | striptags | length }}",
    "letters listed": "{{ ('😀' * 2**25) | list | length }}",
    "letters in batches": "{{ ('a' * 2**25) | batch(2) | first }}",
    "letters in slices": "{{ ('a' * 2**25) | slice(2) | first }}",
    "letters sorted": "{{ ('a' * 2**25) | sort | length }}",
    "letters joined": "{{ ('a' * 2**22) | join('-') | length }}",
    "letters joined by a method": "{{ '-'.join('a' * 2**22) | length }}",
    "letters of letters": "{{ ('a' * 2**20) | join('b' * 2**20) }}",
    "keys joined": "{{ ('b' * 2**20).join({'a': 1, 'b': 1}.fromkeys(range(99999))) }}",
    "words split": "{{ ('a ' * 16000000).split() | length }}",
    "lines split": "{{ ('a\n' * 16000000).splitlines() | length }}",
    "words pretty": "{{ ('a ' * 16000000) | pprint | length }}",
    "an address": "{{ ('😀' * 2**24) | urlencode | length }}",
    "words kept": "{% set ns = namespace(x=[]) %}" + LOOP + "{% set ns.x = [('a ' * 2**16).split()] %}{% endfor %}",
    "indents of lists": "{{ ([1] * 1000) | tojson(indent=9999999) | length }}",
    "a namespace, printed": "{% set ns = namespace(x='a' * 2**20) %}{{ [ns] * 4000 }}",
    "a namespace of itself": "{% set n = namespace(x=1) %}{% for i in range(60) %}{% set m = namespace(x=[n.x, n.x]) %}{% set n.x = [m, m] %}{% endfor %}{{ n }}",  # noqa: E501
    "values of a table, printed": "{{ [{1: 'a' * 2**20}.values()] * 4000 }}",
    "a date": "{{ strftime_now('%999d' * 2**20) }}",
    "lists in a list": "{{ ([[1, 2]] * 2**17) | select('in', [1] * 2**17) | first }}",
    "output": LOOP + "{{ 'a' * 1000000 }}{% endfor %}",
    "output kept": "{% set x %}" + LOOP + "{{ 'a' * 1000000 }}{% endfor %}{% endset %}",
}


def strftime_now(form: str) -> str:
    """Today, as transformers gives it to chat templates."""
    return datetime.now(UTC).strftime(form)


@pytest.mark.parametrize("name", BOMBS)
def test_a_template_without_end_is_one_error_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within seconds and within bounds of memory, whichever way it grows."""
    monkeypatch.setattr(suites.bounded_templates, "MOST_SECONDS", 1.0)
    monkeypatch.setattr(suites.bounded_templates, "MOST_STEPS", 200_000)
    environment = BoundedEnvironment()
    began = time.monotonic()
    with pytest.raises(TemplateError) as caught:
        environment.from_string(BOMBS[name]).render(row=b"a", strftime_now=strftime_now)
    assert time.monotonic() - began < 30
    assert isinstance(caught.value, TemplateBoundError)


@pytest.mark.parametrize(
    "template",
    [
        "{{ cycler.__init__.__globals__.os.system('touch made') }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ x.append(1) }}",
    ],
)
def test_python_is_out_of_reach(template: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No way from a template to the interpreter, nor a change of what it is given."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises((SecurityError, TemplateError)):
        BoundedEnvironment().from_string(template).render(x=[1])
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{% for m in ms %}{{ loop.index }}{{ m.role ~ ': ' ~ m['content'] | trim }}. {% endfor %}", "1u: hi. 2a: yes. "),  # noqa: E501
        ("{% for m in ms if m.role == 'a' %}{{ m.content }}{% else %}none{% endfor %}", "yes"),
        ("{% for m in ms if m.role == 'x' %}{{ m.content }}{% else %}none{% endfor %}", "none"),
        ("{% macro b(x) %}<{{ x }}>{% endmacro %}{{ b('a' + 'c') }}{{ 2 * 3 }}{{ 'ab' * 2 }}", "<ac>6abab"),
        ("{{ ms | map(attribute='role') | join(', ') }}|{{ '%s-%03d' % ('a', 7) }}", "u, a|a-007"),
        ("{{ ms | tojson(indent=1) | length > 9 }}", "True"),
        ("{{ 'a-b'.replace('-', '+') }}{{ 'x' | center(3) }}{{ ','.join(['a', 'b']) }}", "a+b x a,b"),
        ("{{ 'x\ny' | indent(2) }}", "x\n  y"),
        ("{{ '%s' % 12345678901 }}{{ '{}: {n}'.format('12345678901', n=12345678901) }}", "1234567890112345678901: 12345678901"),  # noqa: E501
        ("{{ '{:>{}}'.format(1, 3) }}{{ '%*d' % (3, 1) }}{{ 2.25 | round(1, 'floor') }}{{ 7 // 2 - 1 }}{{ 1 is odd }}", "  1  12.22True"),  # noqa: E501
        ("{{ 'a b'.split() | join('-') }}{{ 'a b' | title }}{{ ms | length in [2] }}{{ 'abc' | list | last }}", "a-bA BTruec"),  # noqa: E501
        ("{{ dict(a=1) | tojson(indent=2) }}{{ (2 ** 64) * 3 }}", '{\n  "a": 1\n}55340232221128654848'),
        ("{% set ns = namespace(n=0) %}{% for m in ms recursive %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "2"),  # noqa: E501
    ],
)  # fmt: skip
def test_what_templates_do_every_day_stays_as_it_was(template: str, text: str) -> None:
    """Loops with conditions and `else`, macros, filters, formats: the same text as plain Jinja's."""
    messages = [{"role": "u", "content": " hi"}, {"role": "a", "content": "yes"}]
    assert BoundedEnvironment().from_string(template).render(ms=messages) == text


def test_every_rendering_has_the_full_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand conversations in turn are no loop of a template; time counts from the start of each."""
    monkeypatch.setattr(suites.bounded_templates, "MOST_STEPS", 20)
    template = BoundedEnvironment().from_string("{% for i in range(9) %}{{ i }}{% endfor %}")
    assert {template.render() for _ in range(10)} == {"012345678"}
    monkeypatch.setattr(suites.bounded_templates, "MOST_SECONDS", -1.0)
    monkeypatch.setattr(suites.bounded_templates, "MOST_STEPS", 10_000)
    with pytest.raises(TemplateBoundError, match="more than -1 s"):
        BoundedEnvironment().from_string(LOOP + "{% endfor %}").render()


def test_chat_templates_of_tokenizers_have_the_bounds(train_tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokenizer of transformers compiles its template in this environment once it is told to."""
    from transformers import PreTrainedTokenizerFast
    from transformers.utils import chat_template_utils

    monkeypatch.setattr(
        chat_template_utils, "ImmutableSandboxedEnvironment", chat_template_utils.ImmutableSandboxedEnvironment
    )
    bound_chat_templates()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=train_tokenizer(["<s>", "</s>"], 300))
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}{# bounded #}"
    messages = [{"role": "user", "content": "hi"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == "hi"
    tokenizer.chat_template = BOMBS["loops in loops"]
    monkeypatch.setattr(suites.bounded_templates, "MOST_STEPS", 20_000)
    with pytest.raises(TemplateBoundError, match="more than 20,000 steps"):
        tokenizer.apply_chat_template(messages, tokenize=False)
