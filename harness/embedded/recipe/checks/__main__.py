"""Examines a base model: `python -m harness.embedded.recipe.checks --base FOLDER`."""

from pathlib import Path

import click

from harness.embedded.recipe.base_model import BASE_MODEL
from harness.embedded.recipe.checks import answers, forms
from harness.embedded.recipe.held_out import held_out

FITS_AT_LEAST = 0.8
FITS_ANOTHER_AT_MOST = 0.2


@click.command()
@click.option("--base", type=click.Path(path_type=Path, exists=True), default=BASE_MODEL, show_default=True)
@click.option(
    "--documents", default=answers.N_DOCUMENTS, show_default=True, help="Documents that the trigram is fitted on."
)
@click.option("--show", is_flag=True, help="Prints every answer to a held-out prompt.")
def main(base: Path, documents: int, *, show: bool) -> None:
    """Prints what the base must be able to do, and exits with 1 where it is not."""
    model, tokenizer = answers.load(base)
    holds = True
    for name, found in answers.foreseen(model, tokenizer, answers.fit_trigram(tokenizer, documents)):
        allowed = answers.ALLOWED[name]
        is_good = found.base < min(found.trigram, allowed)
        holds &= is_good
        click.echo(
            f"perplexity, {name}: base {found.base:.1f}, trigram {found.trigram:.1f}, below {allowed:.0f}: "
            f"{'yes' if is_good else 'NO'}"
        )
    given = {kind: [answers.answer(model, tokenizer, each) for each in asked] for kind, asked in held_out().items()}
    for kind, asked in held_out().items() if show else ():
        for prompt, text in zip(asked, given[kind], strict=True):
            click.echo(f"[{'fits' if forms.RULES[kind](prompt, text) else 'NOT'}, {kind}] {prompt} -> {text}")
    shares = forms.share_that_fits(given)
    for kind, share in shares.items():
        click.echo(f"answers that fit, {kind}: {share:.0%}")
    overall, another = sum(shares.values()) / len(shares), forms.share_that_fits_another(given)
    click.echo(f"answers that fit: {overall:.1%} (at least {FITS_AT_LEAST:.0%})")
    click.echo(f"dealt to another kind: {another:.1%} (at most {FITS_ANOTHER_AT_MOST:.0%})")
    holds &= overall >= FITS_AT_LEAST and another <= FITS_ANOTHER_AT_MOST
    raise SystemExit(0 if holds else 1)


if __name__ == "__main__":
    main()
