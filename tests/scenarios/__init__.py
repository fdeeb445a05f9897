"""What a repository can see, one folder for each scenario: files to push beside `expected.json`.

`workflow.yml` stands for `.runner/workflows/workflow.yml`; all else is committed where it lies. Every
scenario goes through the whole engine. `expected.json` holds:

* `executors`: those it is run on, `["sandbox"]` if not given; `example`: the folder of `pipelines_examples`
  that is pushed instead of the scenario's own;
* `docker`: whether it needs a daemon, with the image `runner-test:latest`;
* `ref`: what is pushed, `refs/heads/main` if not given; `change`: files, by path, that the push changes
  on top of a first commit with all others; without it the push is the first of a new branch;
* `environments`: their rules by name; `told`: what people say to its runs, in that order: a `signal` with its
  `payload`, or to `approve` or `reject` a job once that waits for it, with `by` and `comment`;
* `delivery`: `status` and `reason` of a push that starts nothing;
* `runs`: every run, by the name of its workflow's file; in it `result`, `problems` and `jobs`: every job,
  by its key, or by its name where it is one of several legs or of a called workflow; in it `result`,
  `conclusion`, `reason`, `name`, `outputs`, what its own log holds, `steps`, by their names, `pres` and
  `posts`, by their keys; in each what matters of `result` (null where it did not run), `conclusion`,
  `exit_code`, `outputs`, `summary`, `reason`, `annotations`, `log_contains` and `log_lacks` (texts) and
  `log_bytes`.

`others/OWNER/NAME@REF` are files of another repository, committed in the order of their names, each with a
tag. No other scenario may bring the same repository.

Every repository has the secrets and variables that `engine.py` names.
"""
