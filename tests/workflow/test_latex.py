import shutil
import subprocess

import pytest
from repositories import REPOSITORY


@pytest.mark.slow
@pytest.mark.parametrize("way", ["article", "frame"])
def test_latex_sets_every_table_that_is_shipped(way, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    found = sorted((REPOSITORY / "results" / "smoke" / "tables").glob("*.tex"))
    assert len(found) == 8
    inputs = "".join(rf"\input{{{path}}}\clearpage" for path in found)
    (tmp_path / "plain.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
        rf"{inputs}\end{{document}}"
    )
    what = {"article": "plain.tex", "frame": r"\def\scale{smoke}\input{paper/tables.tex}"}[way]
    ran = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-jobname", "made",
         "-output-directory", str(tmp_path), what.replace("plain", str(tmp_path / "plain"))],
        cwd=REPOSITORY, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout
    log = (tmp_path / "made.log").read_text()
    for complaint in ("Overfull", "Missing character", "Font Warning"):
        assert complaint not in log
    assert f"({len(found)} pages" in log.replace("\n", "")
