"""Make a two-class data set from the rated film-review sentences in data/: `python -m scripts.sentiment --out FILE`."""

import csv
from pathlib import Path

import click

from verifier.artifacts.errors import ArtifactError
from verifier.artifacts.new_files import write_new

SENTENCES = Path(__file__).resolve().parent.parent / "data" / "vader-movie-reviews" / "sentences.tsv"
# Minimum |mean rating|, on a scale from -4 to 4, of a sentence that is used: one nearer to zero is neither positive nor
# negative.
MIN_RATING = 0.8


@click.command()
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The data set to write.")
def main(out: Path) -> None:
    """Write label<TAB>text lines of the sentences that people rated clearly positive or negative."""
    lines = ["label\ttext"]
    with SENTENCES.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            rating = float(row["mean_rating"])
            if abs(rating) >= MIN_RATING:
                lines.append(f"{'positive' if rating > 0 else 'negative'}\t{row['text']}")
    try:
        write_new(out, ("\n".join(lines) + "\n").encode())
    except ArtifactError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{len(lines) - 1} sentences in {out}")


if __name__ == "__main__":
    main()
