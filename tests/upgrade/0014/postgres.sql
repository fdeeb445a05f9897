SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.cancels (
    run bigint NOT NULL,
    attempt integer NOT NULL
);
CREATE TABLE public.checkpoints (
    job bigint NOT NULL,
    base integer NOT NULL,
    key character varying(255) NOT NULL,
    attempt integer NOT NULL,
    sequence integer NOT NULL,
    fingerprint character varying(64) NOT NULL,
    outcome json NOT NULL,
    started_at bigint NOT NULL,
    finished_at bigint NOT NULL,
    snapshot text NOT NULL
);
CREATE TABLE public.deliveries (
    id character varying(36) NOT NULL,
    forge character varying(32) NOT NULL,
    repo character varying(255) NOT NULL,
    guid text NOT NULL,
    digest text NOT NULL,
    kind text NOT NULL,
    ref text NOT NULL,
    commit character varying(40),
    before character varying(40),
    actor text NOT NULL,
    default_branch text,
    payload json NOT NULL,
    status character varying(16) NOT NULL,
    reason text NOT NULL,
    received_at bigint NOT NULL,
    ring_at bigint,
    approved boolean DEFAULT false NOT NULL
);
CREATE TABLE public.jobs (
    id bigint NOT NULL,
    run bigint NOT NULL,
    run_attempt integer NOT NULL,
    "position" integer NOT NULL,
    key character varying(255) NOT NULL,
    name text NOT NULL,
    needs json NOT NULL,
    labels json NOT NULL,
    steps json NOT NULL,
    attempt integer NOT NULL,
    base integer NOT NULL,
    phase character varying(16) NOT NULL,
    queued_at bigint,
    worker text,
    lease_until bigint,
    started_at bigint,
    finished_at bigint,
    result character varying(16),
    reason text NOT NULL,
    ring_at bigint,
    tries integer DEFAULT 0 NOT NULL,
    due_at bigint,
    claimed_at bigint,
    worked bigint DEFAULT '0'::bigint NOT NULL,
    tolerated boolean DEFAULT false NOT NULL,
    dynamic boolean DEFAULT false NOT NULL,
    conditional boolean DEFAULT false NOT NULL,
    cancelled boolean DEFAULT false NOT NULL,
    planned boolean DEFAULT true NOT NULL,
    leg json DEFAULT '{}'::json NOT NULL,
    calls text,
    caller bigint,
    inputs json DEFAULT '{}'::json NOT NULL,
    outputs json DEFAULT '{}'::json NOT NULL,
    turns json,
    asked_at bigint,
    superseded integer,
    lost json DEFAULT '[]'::json NOT NULL,
    tried json DEFAULT '[]'::json NOT NULL
);
CREATE SEQUENCE public.jobs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.jobs_id_seq OWNED BY public.jobs.id;
CREATE TABLE public.log_chunks (
    id bigint NOT NULL,
    job bigint NOT NULL,
    attempt integer NOT NULL,
    step character varying(255) NOT NULL,
    data bytea NOT NULL,
    end_at bigint DEFAULT '0'::bigint NOT NULL
);
CREATE SEQUENCE public.log_chunks_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.log_chunks_id_seq OWNED BY public.log_chunks.id;
CREATE TABLE public.places (
    forge character varying(32) NOT NULL,
    repo character varying(255) NOT NULL,
    number integer NOT NULL,
    run bigint NOT NULL,
    job bigint,
    name text NOT NULL,
    turn json NOT NULL,
    within json NOT NULL,
    ring_at bigint
);
CREATE TABLE public.repositories (
    id bigint NOT NULL,
    forge character varying(32) NOT NULL,
    name character varying(255) NOT NULL,
    url text NOT NULL,
    secret text NOT NULL,
    executor character varying(32),
    image text,
    default_branch text,
    created_at bigint NOT NULL,
    shared boolean DEFAULT false NOT NULL
);
CREATE SEQUENCE public.repositories_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.repositories_id_seq OWNED BY public.repositories.id;
CREATE TABLE public.runs (
    id bigint NOT NULL,
    delivery character varying(36) NOT NULL,
    forge character varying(32) NOT NULL,
    repo character varying(255) NOT NULL,
    commit character varying(40) NOT NULL,
    ref text NOT NULL,
    event text NOT NULL,
    actor text NOT NULL,
    workflow text NOT NULL,
    name text NOT NULL,
    number integer NOT NULL,
    attempt integer NOT NULL,
    problems json NOT NULL,
    created_at bigint NOT NULL,
    title text DEFAULT ''::text NOT NULL,
    pins json DEFAULT '{}'::json NOT NULL,
    turn json
);
CREATE SEQUENCE public.runs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.runs_id_seq OWNED BY public.runs.id;
CREATE TABLE public.schedules (
    id bigint NOT NULL,
    forge character varying(32) NOT NULL,
    repo character varying(255) NOT NULL,
    workflow text NOT NULL,
    cron text NOT NULL,
    timezone text NOT NULL,
    due_at bigint
);
CREATE SEQUENCE public.schedules_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.schedules_id_seq OWNED BY public.schedules.id;
CREATE TABLE public.secrets (
    repository bigint NOT NULL,
    name character varying(255) NOT NULL,
    key character varying(16) NOT NULL,
    sealed bytea NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL
);
CREATE TABLE public.standings (
    forge character varying(32) NOT NULL,
    repo character varying(255) NOT NULL,
    revision integer NOT NULL,
    commit character varying(40) NOT NULL,
    events json NOT NULL
);
CREATE TABLE public.variables (
    repository bigint NOT NULL,
    name character varying(255) NOT NULL,
    value text NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL
);
CREATE TABLE public.workers (
    name character varying(255) NOT NULL,
    labels json NOT NULL,
    until bigint NOT NULL
);
ALTER TABLE ONLY public.jobs ALTER COLUMN id SET DEFAULT nextval('public.jobs_id_seq'::regclass);
ALTER TABLE ONLY public.log_chunks ALTER COLUMN id SET DEFAULT nextval('public.log_chunks_id_seq'::regclass);
ALTER TABLE ONLY public.repositories ALTER COLUMN id SET DEFAULT nextval('public.repositories_id_seq'::regclass);
ALTER TABLE ONLY public.runs ALTER COLUMN id SET DEFAULT nextval('public.runs_id_seq'::regclass);
ALTER TABLE ONLY public.schedules ALTER COLUMN id SET DEFAULT nextval('public.schedules_id_seq'::regclass);
INSERT INTO public.alembic_version VALUES ('0014');
INSERT INTO public.checkpoints VALUES (1, 0, '1', 1, 0, '733f7c5dc6ace5314ece38196e33199be8a90d37f361a715fc6cfc30e6d32f83', '{"result": "success", "conclusion": "success", "exit_code": 0, "outputs": {}, "env": {}, "path": [], "summary": "", "reason": "", "annotations": [], "posts": [], "masks": [], "matchers": []}', 1795704484793018, 1795704484831233, 'base');
INSERT INTO public.checkpoints VALUES (2, 0, '1', 1, 0, 'd3d82184ee66dc30482c01e2a6db0d2b214d0d359c1056ada2f0e29abcc947cf', '{"result": "success", "conclusion": "success", "exit_code": 0, "outputs": {}, "env": {}, "path": [], "summary": "", "reason": "", "annotations": [], "posts": [], "masks": [], "matchers": []}', 1795704486729021, 1795704486774059, 'base');
INSERT INTO public.checkpoints VALUES (3, 0, '1', 1, 0, '0f2d84aca748601370f4dab109ce4e75843fb84ac480b65bdfc2a37f29713a3b', '{"result": "success", "conclusion": "success", "exit_code": 0, "outputs": {"said": "of attempt 1"}, "env": {}, "path": [], "summary": "", "reason": "", "annotations": [], "posts": [], "masks": [], "matchers": []}', 1795704487347659, 1795704487381335, '1.1');
INSERT INTO public.checkpoints VALUES (7, 0, '1~1', 1, 0, '0cac0cb618d992bfaf9fc5e4597d060a637ef0af5f234779b433e6935d00aa31', '{"result": "failure", "conclusion": "failure", "exit_code": 1, "outputs": {}, "env": {}, "path": [], "summary": "", "reason": "exit code 1", "annotations": [], "posts": [], "masks": [], "matchers": []}', 1795704493373002, 1795704493423909, 'base');
INSERT INTO public.deliveries VALUES ('01a21853-c948-70bf-9169-8fb5ccfc8412', 'git', 'octo/hello', 'push-ended', 'push-ended', 'push', 'refs/heads/main', '077ca5c33ac42f1b77dd0d4830b82fbfb7da9744', NULL, '', NULL, '{"guid": "push-ended"}', 'admitted', '', 1795704473928765, NULL, false);
INSERT INTO public.deliveries VALUES ('01a21853-fbd7-797e-bf9a-cae1efe49519', 'git', 'octo/hello', 'push-running', 'push-running', 'push', 'refs/heads/main', 'f94aa9086e761d07caa1d4c65cd8613985223aeb', NULL, '', NULL, '{"guid": "push-running"}', 'admitted', '', 1795704486871401, NULL, false);
INSERT INTO public.deliveries VALUES ('01a21854-111f-732a-b2d1-d040cf0ea53d', 'git', 'octo/hello', 'push-waits-for-its-turn', 'push-waits-for-its-turn', 'push', 'refs/heads/main', 'f94aa9086e761d07caa1d4c65cd8613985223aeb', NULL, '', NULL, '{"guid": "push-waits-for-its-turn"}', 'admitted', '', 1795704492319341, NULL, false);
INSERT INTO public.deliveries VALUES ('01a21854-1123-76a7-9699-3c04caa2cbde', 'git', 'octo/hello', 'push-retried', 'push-retried', 'push', 'refs/heads/main', '34a35e4bcbfaf5806603b9ae5488e94a9b066d6a', NULL, '', NULL, '{"guid": "push-retried"}', 'admitted', '', 1795704492323548, NULL, false);
INSERT INTO public.deliveries VALUES ('01a21854-15b8-76ea-974d-9ec1aecd9f17', 'git', 'octo/hello', 'push-second', 'push-second', 'push', 'refs/heads/main', '736886c2bc80bc89b6e8616f6b1ff991a0bd4648', NULL, '', NULL, '{"guid": "push-second"}', 'admitted', '', 1795704493496922, NULL, false);
INSERT INTO public.deliveries VALUES ('01a21854-1d2d-7771-b60a-2d0b0a565037', 'git', 'octo/hello', 'push-queued', 'push-queued', 'push', 'refs/heads/main', 'be5a16cfbf79e71f3d0c1c00c2c77e9f6abfcd43', NULL, '', NULL, '{"guid": "push-queued"}', 'admitted', '', 1795704495405982, NULL, false);
INSERT INTO public.deliveries VALUES ('01a21854-2727-770c-bb04-4ca11ece37e8', 'git', 'octo/hello', 'push-received', 'push-received', 'push', 'refs/heads/main', 'be5a16cfbf79e71f3d0c1c00c2c77e9f6abfcd43', NULL, '', NULL, '{"guid": "push-received"}', 'received', '', 1795704497959645, 1795704502959645, false);
INSERT INTO public.jobs VALUES (1, 1, 1, 0, 'a', 'a', '[]', '["linux"]', '[["1", "Run echo \"a was done by the former version\"", false]]', 1, 0, 'finished', 1795704484553046, NULL, NULL, 1795704484651814, 1795704484888597, 'success', '', NULL, 0, NULL, 1795704484651814, 0, false, false, false, false, true, '{"matrix": {}, "index": 0, "total": 1, "fail_fast": true, "max_parallel": null}', NULL, NULL, '{}', '{}', NULL, NULL, NULL, '[]', '[]');
INSERT INTO public.jobs VALUES (2, 1, 1, 1, 'b', 'b', '["a"]', '["linux"]', '[["1", "Run echo \"b was done by the former version\"", false]]', 1, 0, 'finished', 1795704484888597, NULL, NULL, 1795704486681706, 1795704486817755, 'success', '', NULL, 0, NULL, 1795704486681706, 0, false, false, false, false, true, '{"matrix": {}, "index": 0, "total": 1, "fail_fast": true, "max_parallel": null}', NULL, NULL, '{}', '{}', NULL, NULL, NULL, '[]', '[]');
INSERT INTO public.jobs VALUES (4, 2, 1, 1, 'b', 'b', '["a"]', '["linux"]', '[["1", "Run echo \"a said: ${{ needs.a.outputs.said }}\"", false]]', 0, 0, 'waiting', NULL, NULL, NULL, NULL, NULL, NULL, '', NULL, 0, NULL, NULL, 0, false, false, false, false, true, '{"matrix": {}, "index": 0, "total": 1, "fail_fast": true, "max_parallel": null}', NULL, NULL, '{}', '{}', NULL, NULL, NULL, '[]', '[]');
INSERT INTO public.jobs VALUES (5, 3, 1, 0, 'a', 'a', '[]', '["linux"]', '[["1", "Run mkdir -p kept; echo \"of attempt $RUNNER_ATTEMPT\" >> kept/file", false], ["2", "Run test \"$(cat kept/file)\" = \"${{ steps.first.outputs.said }}\"", false]]', 0, 0, 'waiting', NULL, NULL, NULL, NULL, NULL, NULL, '', NULL, 0, NULL, NULL, 0, false, false, false, false, true, '{"matrix": {}, "index": 0, "total": 1, "fail_fast": true, "max_parallel": null}', NULL, NULL, '{}', '{}', NULL, NULL, NULL, '[]', '[]');
INSERT INTO public.jobs VALUES (6, 3, 1, 1, 'b', 'b', '["a"]', '["linux"]', '[["1", "Run echo \"a said: ${{ needs.a.outputs.said }}\"", false]]', 0, 0, 'waiting', NULL, NULL, NULL, NULL, NULL, NULL, '', NULL, 0, NULL, NULL, 0, false, false, false, false, true, '{"matrix": {}, "index": 0, "total": 1, "fail_fast": true, "max_parallel": null}', NULL, NULL, '{}', '{}', NULL, NULL, NULL, '[]', '[]');
INSERT INTO public.jobs VALUES (7, 4, 1, 0, 'a', 'a', '[]', '["linux"]', '[["1", "Run echo \"tried in attempt $RUNNER_ATTEMPT\"; test $RUNNER_ATTEMPT != 1", false]]', 1, 0, 'queued', 1795704493471122, NULL, NULL, 1795704493339943, NULL, NULL, 'step 1 (Run echo "tried in attempt $RUNNER_ATTEMPT"; test $RUNNER_ATTEMPT != 1): exit code 1; tried 1 of 3 times, again at 14:50:13 UTC', 1795704613466098, 0, 1795704613466098, 1795704493339943, 131179, false, false, false, false, true, '{"matrix": {}, "index": 0, "total": 1, "fail_fast": true, "max_parallel": null}', NULL, NULL, '{}', '{}', NULL, NULL, NULL, '[]', '[]');
INSERT INTO public.jobs VALUES (9, 6, 1, 0, 'a', 'a', '[]', '["linux"]', '[["1", "Run test \"$TOKEN\" = \"of the victim\"", false]]', 0, 0, 'queued', 1795704495859443, NULL, NULL, NULL, NULL, NULL, '', 1795704500859443, 0, NULL, NULL, 0, false, false, false, false, true, '{"matrix": {}, "index": 0, "total": 1, "fail_fast": true, "max_parallel": null}', NULL, NULL, '{}', '{}', NULL, NULL, NULL, '[]', '[]');
INSERT INTO public.jobs VALUES (3, 2, 1, 0, 'a', 'a', '[]', '["linux"]', '[["1", "Run mkdir -p kept; echo \"of attempt $RUNNER_ATTEMPT\" >> kept/file", false], ["2", "Run test \"$(cat kept/file)\" = \"${{ steps.first.outputs.said }}\"", false]]', 1, 0, 'running', 1795704487144129, 'worker-9211', 1795704499774174, 1795704487271759, NULL, NULL, '', 1795704499774174, 0, NULL, 1795704487271759, 0, false, false, false, false, true, '{"matrix": {}, "index": 0, "total": 1, "fail_fast": true, "max_parallel": null}', NULL, NULL, '{}', '{}', NULL, NULL, NULL, '[]', '[]');
INSERT INTO public.jobs VALUES (8, 5, 1, 0, 'a', 'a', '[]', '["linux"]', '[["1", "Run test $RUNNER_ATTEMPT != 1 || sleep 1000", false]]', 1, 0, 'running', 1795704493593714, 'worker-9211', 1795704499774174, 1795704495368106, NULL, NULL, '', 1795704499774174, 0, NULL, 1795704495368106, 0, false, false, false, false, true, '{"matrix": {}, "index": 0, "total": 1, "fail_fast": true, "max_parallel": null}', NULL, NULL, '{}', '{}', NULL, NULL, NULL, '[]', '[]');
INSERT INTO public.log_chunks VALUES (1, 1, 1, '1', '\x612077617320646f6e652062792074686520666f726d65722076657273696f6e0a', 33);
INSERT INTO public.log_chunks VALUES (2, 2, 1, '1', '\x622077617320646f6e652062792074686520666f726d65722076657273696f6e0a', 33);
INSERT INTO public.log_chunks VALUES (3, 7, 1, '1', '\x747269656420696e20617474656d707420310a', 19);
INSERT INTO public.places VALUES ('git', 'octo/hello', 1, 2, NULL, '', '{"group": "deploy", "key": "DEPLOY", "cancels": false, "queues": true, "called": false, "state": "held", "reason": ""}', '[]', NULL);
INSERT INTO public.places VALUES ('git', 'octo/hello', 2, 3, NULL, '', '{"group": "deploy", "key": "DEPLOY", "cancels": false, "queues": true, "called": false, "state": "waiting", "reason": ""}', '[]', NULL);
INSERT INTO public.repositories VALUES (1, 'git', 'octo/hello', '@REPOSITORY@', 'secret', NULL, NULL, NULL, 1795704467263148, false);
INSERT INTO public.runs VALUES (1, '01a21853-c948-70bf-9169-8fb5ccfc8412', 'git', 'octo/hello', '077ca5c33ac42f1b77dd0d4830b82fbfb7da9744', 'refs/heads/main', 'push', '', '.runner/workflows/ci.yml', '.runner/workflows/ci.yml', 1, 1, '[]', 1795704484553046, '', '{}', NULL);
INSERT INTO public.runs VALUES (2, '01a21853-fbd7-797e-bf9a-cae1efe49519', 'git', 'octo/hello', 'f94aa9086e761d07caa1d4c65cd8613985223aeb', 'refs/heads/main', 'push', '', '.runner/workflows/ci.yml', '.runner/workflows/ci.yml', 2, 1, '[]', 1795704487065344, '', '{}', '{"group": "deploy", "key": "DEPLOY", "cancels": false, "queues": true, "called": false, "state": "held", "reason": ""}');
INSERT INTO public.runs VALUES (3, '01a21854-111f-732a-b2d1-d040cf0ea53d', 'git', 'octo/hello', 'f94aa9086e761d07caa1d4c65cd8613985223aeb', 'refs/heads/main', 'push', '', '.runner/workflows/ci.yml', '.runner/workflows/ci.yml', 3, 1, '[]', 1795704492347438, '', '{}', '{"group": "deploy", "key": "DEPLOY", "cancels": false, "queues": true, "called": false, "state": "waiting", "reason": ""}');
INSERT INTO public.runs VALUES (4, '01a21854-1123-76a7-9699-3c04caa2cbde', 'git', 'octo/hello', '34a35e4bcbfaf5806603b9ae5488e94a9b066d6a', 'refs/heads/main', 'push', '', '.runner/workflows/ci.yml', '.runner/workflows/ci.yml', 4, 1, '[]', 1795704492471586, '', '{}', NULL);
INSERT INTO public.runs VALUES (5, '01a21854-15b8-76ea-974d-9ec1aecd9f17', 'git', 'octo/hello', '736886c2bc80bc89b6e8616f6b1ff991a0bd4648', 'refs/heads/main', 'push', '', '.runner/workflows/ci.yml', '.runner/workflows/ci.yml', 5, 1, '[]', 1795704493593714, '', '{}', NULL);
INSERT INTO public.runs VALUES (6, '01a21854-1d2d-7771-b60a-2d0b0a565037', 'git', 'octo/hello', 'be5a16cfbf79e71f3d0c1c00c2c77e9f6abfcd43', 'refs/heads/main', 'push', '', '.runner/workflows/ci.yml', '.runner/workflows/ci.yml', 6, 1, '[]', 1795704495859443, '', '{}', NULL);
INSERT INTO public.schedules VALUES (1, 'git', 'octo/hello', '.runner/workflows/ci.yml', '30 5 * * *', 'Europe/Berlin', 1795753800000000);
INSERT INTO public.secrets VALUES (1, 'TOKEN', 'e36a967b4f2860e4', '\xbb979065ec11836a50e9e3df6715fb13ebcf97d4d26827e8df76a5e1cf8eaa95ec1c382173419753cb', 1795704471783042, 1795704471783042);
INSERT INTO public.standings VALUES ('git', 'octo/hello', 1, 'be5a16cfbf79e71f3d0c1c00c2c77e9f6abfcd43', '[]');
INSERT INTO public.workers VALUES ('worker-9211', '["linux"]', 1795704524333857);
SELECT pg_catalog.setval('public.jobs_id_seq', 9, true);
SELECT pg_catalog.setval('public.log_chunks_id_seq', 3, true);
SELECT pg_catalog.setval('public.repositories_id_seq', 1, true);
SELECT pg_catalog.setval('public.runs_id_seq', 6, true);
SELECT pg_catalog.setval('public.schedules_id_seq', 1, true);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.cancels
    ADD CONSTRAINT cancels_pkey PRIMARY KEY (run, attempt);
ALTER TABLE ONLY public.checkpoints
    ADD CONSTRAINT checkpoints_pkey PRIMARY KEY (job, base, key);
ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_forge_repo_digest_key UNIQUE (forge, repo, digest);
ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_forge_repo_guid_key UNIQUE (forge, repo, guid);
ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.log_chunks
    ADD CONSTRAINT log_chunks_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.places
    ADD CONSTRAINT places_pkey PRIMARY KEY (forge, repo, number);
ALTER TABLE ONLY public.repositories
    ADD CONSTRAINT repositories_forge_name_key UNIQUE (forge, name);
ALTER TABLE ONLY public.repositories
    ADD CONSTRAINT repositories_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_delivery_workflow_key UNIQUE (delivery, workflow);
ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_forge_repo_workflow_number_key UNIQUE (forge, repo, workflow, number);
ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.schedules
    ADD CONSTRAINT schedules_forge_repo_workflow_cron_timezone_key UNIQUE (forge, repo, workflow, cron, timezone);
ALTER TABLE ONLY public.schedules
    ADD CONSTRAINT schedules_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.secrets
    ADD CONSTRAINT secrets_pkey PRIMARY KEY (repository, name);
ALTER TABLE ONLY public.standings
    ADD CONSTRAINT standings_pkey PRIMARY KEY (forge, repo);
ALTER TABLE ONLY public.variables
    ADD CONSTRAINT variables_pkey PRIMARY KEY (repository, name);
ALTER TABLE ONLY public.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (name);
CREATE INDEX deliveries_due ON public.deliveries USING btree (ring_at);
CREATE INDEX deliveries_newest ON public.deliveries USING btree (received_at);
CREATE INDEX jobs_due ON public.jobs USING btree (ring_at);
CREATE INDEX jobs_of_run ON public.jobs USING btree (run, run_attempt, "position");
CREATE INDEX log_chunks_by_end ON public.log_chunks USING btree (job, attempt, step, end_at);
CREATE INDEX places_due ON public.places USING btree (ring_at);
CREATE INDEX places_of_run ON public.places USING btree (run);
CREATE INDEX runs_of_repository ON public.runs USING btree (forge, repo, id);
CREATE INDEX schedules_due ON public.schedules USING btree (due_at);
ALTER TABLE ONLY public.cancels
    ADD CONSTRAINT cancels_run_fkey FOREIGN KEY (run) REFERENCES public.runs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.checkpoints
    ADD CONSTRAINT checkpoints_job_fkey FOREIGN KEY (job) REFERENCES public.jobs(id);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_run_fkey FOREIGN KEY (run) REFERENCES public.runs(id);
ALTER TABLE ONLY public.log_chunks
    ADD CONSTRAINT log_chunks_job_fkey FOREIGN KEY (job) REFERENCES public.jobs(id);
ALTER TABLE ONLY public.places
    ADD CONSTRAINT places_run_fkey FOREIGN KEY (run) REFERENCES public.runs(id);
ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_delivery_fkey FOREIGN KEY (delivery) REFERENCES public.deliveries(id);
ALTER TABLE ONLY public.secrets
    ADD CONSTRAINT secrets_repository_fkey FOREIGN KEY (repository) REFERENCES public.repositories(id);
ALTER TABLE ONLY public.variables
    ADD CONSTRAINT variables_repository_fkey FOREIGN KEY (repository) REFERENCES public.repositories(id);
