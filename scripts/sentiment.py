"""Make a two-class data set of the rated film-review sentences in data/: `python -m scripts.sentiment --out FILE`."""

import csv
from pathlib import Path

import click

SENTENCES = Path(__file__).resolve().parent.parent / "data" / "vader-movie-reviews" / "sentences.tsv"
# A mean rating nearer to zero than this is neither positive nor negative.
LEAST_RATING = 0.8


@click.command()
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The data set to write.")
def main(out: Path) -> None:
    """Write label<TAB>text lines of the sentences that people rated clearly positive or negative."""
    if out.exists():
        raise click.ClickException(f"{out} exists and is not overwritten")
    lines = ["label\ttext"]
    with SENTENCES.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            rating = float(row["mean_rating"])
            if abs(rating) >= LEAST_RATING:
                lines.append(f"{'positive' if rating > 0 else 'negative'}\t{row['text']}")
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    click.echo(f"{len(lines) - 1} sentences in {out}")


if __name__ == "__main__":
    main()
