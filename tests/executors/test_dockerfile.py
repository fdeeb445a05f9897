"""What of a Dockerfile docker's builder is given."""

import pytest

from runner.executors.dockerfile import with_images
from runner.executors.packing import BadRecipe


def read(text: str) -> str:
    return with_images(text.encode(), "act/Dockerfile", lambda image: f"<{image}>").decode()


def test_images_are_named_by_their_ids_and_stages_as_they_were() -> None:
    text = """\
# a comment
ARG BASE=python VERSION=3.11
FROM --platform=linux/amd64 ${BASE}:$VERSION as One

RUN one && \\
    # in between
    two \\

    three
from one
COPY --chown=1:1 --from=ONE /a /b
copy --from=0 $A /b
COPY --from=busybox:1 a b
FROM scratch
ADD ["a b.tar", "/"]
"""

    assert read(text) == (
        "\nARG BASE=python VERSION=3.11\nFROM --platform=linux/amd64 <python:3.11> AS One\n\n"
        "RUN one &&     two     three\n\n\n\n\nFROM one\n"
        "COPY --chown=1:1 --from=ONE /a /b\nCOPY --from=0 $A /b\nCOPY --from=<busybox:1> a b\n"
        'FROM scratch\nADD ["a b.tar", "/"]\n'
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        *[
            (line, "docker would fetch over the machine's own network")
            for line in (
                "ADD http://127.0.0.1:6379/ /x",
                "add --chown=1 https://a/b /x",
                'ADD ["http://a/b", "/x"]',
                'ADD "http":"//a/b" /x',
                "ADD git@forge:a/b /x",
                "ONBUILD ADD http://a /x",
                "A\\\nDD ht\\\ntp://a /x",
            )
        ],
        ("ADD $URL /x", "may hide an address"),
        ("ADD h\\ttp:/\\/a /x", "may hide an address"),
        ("ONBUILD COPY --from=3397 / /", "--from cannot be in a trigger"),
        ('ONBUILD COPY --fr"om"=3397 / /', "without quotes"),
        ("COPY --from=$X / /", "no variable can be used"),
        ("COPY --fro\\m=3397 / /", "without quotes"),
        ("FROM $NONE", "only an ARG before the first FROM"),
        ("FROM ${LATER:-33}", "only an ARG before the first FROM"),
        ('FROM "a"', "is not understood"),
        ("ONBU\u0130LD ADD a b", "is no instruction"),
        ("RUN cat <<EOF\nFROM x\nEOF", "no here-documents"),
        ("RUN a\rb", "cannot be in a Dockerfile"),
        ("# Escape=`", "leave the escape directive out"),
    ],
)
def test_what_docker_would_do_beside_the_job_is_refused(line: str, problem: str) -> None:
    with pytest.raises(BadRecipe, match="act/Dockerfile:2: .*" + problem):
        read(f"FROM a\n{line}\n")


def test_an_argument_that_is_given_twice_names_no_image() -> None:
    with pytest.raises(BadRecipe, match="act/Dockerfile:3: FROM \\$A: only an ARG"):
        read("ARG A=a\nARG A=b\nFROM $A\n")
