BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0014');
CREATE TABLE cancels (
	run INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	PRIMARY KEY (run, attempt), 
	FOREIGN KEY(run) REFERENCES runs (id) ON DELETE CASCADE
);
CREATE TABLE checkpoints (
	job INTEGER NOT NULL, 
	base INTEGER NOT NULL, 
	"key" VARCHAR(255) NOT NULL, 
	attempt INTEGER NOT NULL, 
	sequence INTEGER NOT NULL, 
	fingerprint VARCHAR(64) NOT NULL, 
	outcome JSON NOT NULL, 
	started_at BIGINT NOT NULL, 
	finished_at BIGINT NOT NULL, 
	snapshot TEXT NOT NULL, 
	PRIMARY KEY (job, base, "key"), 
	FOREIGN KEY(job) REFERENCES jobs (id)
);
INSERT INTO "checkpoints" VALUES(1,0,'1',1,0,'733f7c5dc6ace5314ece38196e33199be8a90d37f361a715fc6cfc30e6d32f83','{"result": "success", "conclusion": "success", "exit_code": 0, "outputs": {}, "env": {}, "path": [], "summary": "", "reason": "", "annotations": [], "posts": [], "masks": [], "matchers": []}',1795704430743308,1795704430787684,'base');
INSERT INTO "checkpoints" VALUES(2,0,'1',1,0,'d3d82184ee66dc30482c01e2a6db0d2b214d0d359c1056ada2f0e29abcc947cf','{"result": "success", "conclusion": "success", "exit_code": 0, "outputs": {}, "env": {}, "path": [], "summary": "", "reason": "", "annotations": [], "posts": [], "masks": [], "matchers": []}',1795704430884532,1795704430927593,'base');
INSERT INTO "checkpoints" VALUES(3,0,'1',1,0,'0f2d84aca748601370f4dab109ce4e75843fb84ac480b65bdfc2a37f29713a3b','{"result": "success", "conclusion": "success", "exit_code": 0, "outputs": {"said": "of attempt 1"}, "env": {}, "path": [], "summary": "", "reason": "", "annotations": [], "posts": [], "masks": [], "matchers": []}',1795704436632167,1795704436655199,'1.1');
INSERT INTO "checkpoints" VALUES(7,0,'1~1',1,0,'0cac0cb618d992bfaf9fc5e4597d060a637ef0af5f234779b433e6935d00aa31','{"result": "failure", "conclusion": "failure", "exit_code": 1, "outputs": {}, "env": {}, "path": [], "summary": "", "reason": "exit code 1", "annotations": [], "posts": [], "masks": [], "matchers": []}',1795704447745997,1795704447776327,'base');
CREATE TABLE deliveries (
	id VARCHAR(36) NOT NULL, 
	forge VARCHAR(32) NOT NULL, 
	repo VARCHAR(255) NOT NULL, 
	guid TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	ref TEXT NOT NULL, 
	"commit" VARCHAR(40), 
	"before" VARCHAR(40), 
	actor TEXT NOT NULL, 
	default_branch TEXT, 
	payload JSON NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	reason TEXT NOT NULL, 
	received_at BIGINT NOT NULL, 
	ring_at BIGINT, approved BOOLEAN DEFAULT 0 NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (forge, repo, digest), 
	UNIQUE (forge, repo, guid)
);
INSERT INTO "deliveries" VALUES('01a21853-0cd1-78e7-8b2c-02c9e45c89b9','git','octo/hello','push-ended','push-ended','push','refs/heads/main','077ca5c33ac42f1b77dd0d4830b82fbfb7da9744',NULL,'',NULL,'{"guid": "push-ended"}','admitted','',1795704425681610,NULL,0);
INSERT INTO "deliveries" VALUES('01a21853-2171-772c-b8b8-4a75c53c68e2','git','octo/hello','push-running','push-running','push','refs/heads/main','f94aa9086e761d07caa1d4c65cd8613985223aeb',NULL,'',NULL,'{"guid": "push-running"}','admitted','',1795704430961090,NULL,0);
INSERT INTO "deliveries" VALUES('01a21853-4b19-7c04-af88-cabf0bda5dde','git','octo/hello','push-waits-for-its-turn','push-waits-for-its-turn','push','refs/heads/main','f94aa9086e761d07caa1d4c65cd8613985223aeb',NULL,'',NULL,'{"guid": "push-waits-for-its-turn"}','admitted','',1795704441625469,NULL,0);
INSERT INTO "deliveries" VALUES('01a21853-4b29-7873-bbfa-9772f3dae5f8','git','octo/hello','push-retried','push-retried','push','refs/heads/main','34a35e4bcbfaf5806603b9ae5488e94a9b066d6a',NULL,'',NULL,'{"guid": "push-retried"}','admitted','',1795704441641821,NULL,0);
INSERT INTO "deliveries" VALUES('01a21853-635f-7b64-9555-1cbeb3bbefc6','git','octo/hello','push-second','push-second','push','refs/heads/main','736886c2bc80bc89b6e8616f6b1ff991a0bd4648',NULL,'',NULL,'{"guid": "push-second"}','admitted','',1795704447839679,NULL,0);
INSERT INTO "deliveries" VALUES('01a21853-7a7f-7a73-acb4-b89308ac950a','git','octo/hello','push-queued','push-queued','push','refs/heads/main','be5a16cfbf79e71f3d0c1c00c2c77e9f6abfcd43',NULL,'',NULL,'{"guid": "push-queued"}','admitted','',1795704453759312,NULL,0);
INSERT INTO "deliveries" VALUES('01a21853-9a40-7a33-8679-42ed8d17b913','git','octo/hello','push-received','push-received','push','refs/heads/main','be5a16cfbf79e71f3d0c1c00c2c77e9f6abfcd43',NULL,'',NULL,'{"guid": "push-received"}','received','',1795704461888131,1795704466888131,0);
CREATE TABLE "jobs" (
	id INTEGER NOT NULL, 
	run INTEGER NOT NULL, 
	run_attempt INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	"key" VARCHAR(255) NOT NULL, 
	name TEXT NOT NULL, 
	needs JSON NOT NULL, 
	labels JSON NOT NULL, 
	steps JSON NOT NULL, 
	attempt INTEGER NOT NULL, 
	base INTEGER NOT NULL, 
	phase VARCHAR(16) NOT NULL, 
	queued_at BIGINT, 
	worker TEXT, 
	lease_until BIGINT, 
	started_at BIGINT, 
	finished_at BIGINT, 
	result VARCHAR(16), 
	reason TEXT NOT NULL, 
	ring_at BIGINT, 
	tries INTEGER DEFAULT '0' NOT NULL, 
	due_at BIGINT, 
	claimed_at BIGINT, 
	worked BIGINT DEFAULT '0' NOT NULL, 
	tolerated BOOLEAN DEFAULT 0 NOT NULL, 
	dynamic BOOLEAN DEFAULT 0 NOT NULL, 
	conditional BOOLEAN DEFAULT 0 NOT NULL, 
	cancelled BOOLEAN DEFAULT 0 NOT NULL, 
	planned BOOLEAN DEFAULT 1 NOT NULL, 
	leg JSON DEFAULT '{}' NOT NULL, 
	calls TEXT, 
	caller INTEGER, 
	inputs JSON DEFAULT '{}' NOT NULL, 
	outputs JSON DEFAULT '{}' NOT NULL, turns JSON, asked_at BIGINT, superseded INTEGER, lost JSON DEFAULT '[]' NOT NULL, tried JSON DEFAULT '[]' NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(run) REFERENCES runs (id)
);
INSERT INTO "jobs" VALUES(1,1,1,0,'a','a','[]','["linux"]','[["1", "Run echo \"a was done by the former version\"", false]]',1,0,'finished',1795704430615165,NULL,NULL,1795704430656685,1795704430816070,'success','',NULL,0,NULL,1795704430656685,0,0,0,0,0,1,'{"matrix": {}, "index": 0, "total": 1, "fail_fast": true, "max_parallel": null}',NULL,NULL,'{}','{}',NULL,NULL,NULL,'[]','[]');
INSERT INTO "jobs" VALUES(2,1,1,1,'b','b','["a"]','["linux"]','[["1", "Run echo \"b was done by the former version\"", false]]',1,0,'finished',1795704430816070,NULL,NULL,1795704430843220,1795704430944128,'success','',NULL,0,NULL,1795704430843220,0,0,0,0,0,1,'{"matrix": {}, "index": 0, "total": 1, "fail_fast": true, "max_parallel": null}',NULL,NULL,'{}','{}',NULL,NULL,NULL,'[]','[]');
INSERT INTO "jobs" VALUES(3,2,1,0,'a','a','[]','["linux"]','[["1", "Run mkdir -p kept; echo \"of attempt $RUNNER_ATTEMPT\" >> kept/file", false], ["2", "Run test \"$(cat kept/file)\" = \"${{ steps.first.outputs.said }}\"", false]]',1,0,'running',1795704436583690,'embedded-7132',1795704463859398,1795704436616721,NULL,NULL,'',1795704463859398,0,NULL,1795704436616721,0,0,0,0,0,1,'{"matrix": {}, "index": 0, "total": 1, "fail_fast": true, "max_parallel": null}',NULL,NULL,'{}','{}',NULL,NULL,NULL,'[]','[]');
INSERT INTO "jobs" VALUES(4,2,1,1,'b','b','["a"]','["linux"]','[["1", "Run echo \"a said: ${{ needs.a.outputs.said }}\"", false]]',0,0,'waiting',NULL,NULL,NULL,NULL,NULL,NULL,'',NULL,0,NULL,NULL,0,0,0,0,0,1,'{"matrix": {}, "index": 0, "total": 1, "fail_fast": true, "max_parallel": null}',NULL,NULL,'{}','{}',NULL,NULL,NULL,'[]','[]');
INSERT INTO "jobs" VALUES(5,3,1,0,'a','a','[]','["linux"]','[["1", "Run mkdir -p kept; echo \"of attempt $RUNNER_ATTEMPT\" >> kept/file", false], ["2", "Run test \"$(cat kept/file)\" = \"${{ steps.first.outputs.said }}\"", false]]',0,0,'waiting',NULL,NULL,NULL,NULL,NULL,NULL,'',NULL,0,NULL,NULL,0,0,0,0,0,1,'{"matrix": {}, "index": 0, "total": 1, "fail_fast": true, "max_parallel": null}',NULL,NULL,'{}','{}',NULL,NULL,NULL,'[]','[]');
INSERT INTO "jobs" VALUES(6,3,1,1,'b','b','["a"]','["linux"]','[["1", "Run echo \"a said: ${{ needs.a.outputs.said }}\"", false]]',0,0,'waiting',NULL,NULL,NULL,NULL,NULL,NULL,'',NULL,0,NULL,NULL,0,0,0,0,0,1,'{"matrix": {}, "index": 0, "total": 1, "fail_fast": true, "max_parallel": null}',NULL,NULL,'{}','{}',NULL,NULL,NULL,'[]','[]');
INSERT INTO "jobs" VALUES(7,4,1,0,'a','a','[]','["linux"]','[["1", "Run echo \"tried in attempt $RUNNER_ATTEMPT\"; test $RUNNER_ATTEMPT != 1", false]]',1,0,'queued',1795704447813705,NULL,NULL,1795704447715835,NULL,NULL,'step 1 (Run echo "tried in attempt $RUNNER_ATTEMPT"; test $RUNNER_ATTEMPT != 1): exit code 1; tried 1 of 3 times, again at 14:49:27 UTC',1795704567813066,0,1795704567813066,1795704447715835,97870,0,0,0,0,1,'{"matrix": {}, "index": 0, "total": 1, "fail_fast": true, "max_parallel": null}',NULL,NULL,'{}','{}',NULL,NULL,NULL,'[]','[]');
INSERT INTO "jobs" VALUES(8,5,1,0,'a','a','[]','["linux"]','[["1", "Run test $RUNNER_ATTEMPT != 1 || sleep 1000", false]]',1,0,'running',1795704453709141,'embedded-7132',1795704463859398,1795704453735619,NULL,NULL,'',1795704463859398,0,NULL,1795704453735619,0,0,0,0,0,1,'{"matrix": {}, "index": 0, "total": 1, "fail_fast": true, "max_parallel": null}',NULL,NULL,'{}','{}',NULL,NULL,NULL,'[]','[]');
INSERT INTO "jobs" VALUES(9,6,1,0,'a','a','[]','["linux"]','[["1", "Run test \"$TOKEN\" = \"of the victim\"", false]]',0,0,'queued',1795704459843810,NULL,NULL,NULL,NULL,NULL,'',1795704464843810,0,NULL,NULL,0,0,0,0,0,1,'{"matrix": {}, "index": 0, "total": 1, "fail_fast": true, "max_parallel": null}',NULL,NULL,'{}','{}',NULL,NULL,NULL,'[]','[]');
CREATE TABLE log_chunks (
	id INTEGER NOT NULL, 
	job INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	step VARCHAR(255) NOT NULL, 
	data BLOB NOT NULL, end_at BIGINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(job) REFERENCES jobs (id)
);
CREATE TABLE places (
	forge VARCHAR(32) NOT NULL, 
	repo VARCHAR(255) NOT NULL, 
	number INTEGER NOT NULL, 
	run INTEGER NOT NULL, 
	job INTEGER, 
	name TEXT NOT NULL, 
	turn JSON NOT NULL, 
	within JSON NOT NULL, 
	ring_at BIGINT, 
	PRIMARY KEY (forge, repo, number), 
	FOREIGN KEY(run) REFERENCES runs (id)
);
INSERT INTO "places" VALUES('git','octo/hello',1,2,NULL,'','{"group": "deploy", "key": "DEPLOY", "cancels": false, "queues": true, "called": false, "state": "held", "reason": ""}','[]',NULL);
INSERT INTO "places" VALUES('git','octo/hello',2,3,NULL,'','{"group": "deploy", "key": "DEPLOY", "cancels": false, "queues": true, "called": false, "state": "waiting", "reason": ""}','[]',NULL);
CREATE TABLE repositories (
	id INTEGER NOT NULL, 
	forge VARCHAR(32) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	url TEXT NOT NULL, 
	secret TEXT NOT NULL, 
	executor VARCHAR(32), 
	image TEXT, 
	default_branch TEXT, 
	created_at BIGINT NOT NULL, shared BOOLEAN DEFAULT 0 NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (forge, name)
);
INSERT INTO "repositories" VALUES(1,'git','octo/hello','@REPOSITORY@','secret',NULL,NULL,NULL,1795704419435589,0);
CREATE TABLE "runs" (
	id INTEGER NOT NULL, 
	delivery VARCHAR(36) NOT NULL, 
	forge VARCHAR(32) NOT NULL, 
	repo VARCHAR(255) NOT NULL, 
	"commit" VARCHAR(40) NOT NULL, 
	ref TEXT NOT NULL, 
	event TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	workflow TEXT NOT NULL, 
	name TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	problems JSON NOT NULL, 
	created_at BIGINT NOT NULL, 
	title TEXT DEFAULT ('') NOT NULL, 
	pins JSON DEFAULT '{}' NOT NULL, 
	turn JSON, 
	PRIMARY KEY (id), 
	UNIQUE (delivery, workflow), 
	FOREIGN KEY(delivery) REFERENCES deliveries (id), 
	UNIQUE (forge, repo, workflow, number)
);
INSERT INTO "runs" VALUES(1,'01a21853-0cd1-78e7-8b2c-02c9e45c89b9','git','octo/hello','077ca5c33ac42f1b77dd0d4830b82fbfb7da9744','refs/heads/main','push','','.runner/workflows/ci.yml','.runner/workflows/ci.yml',1,1,'[]',1795704430615165,'','{}',NULL);
INSERT INTO "runs" VALUES(2,'01a21853-2171-772c-b8b8-4a75c53c68e2','git','octo/hello','f94aa9086e761d07caa1d4c65cd8613985223aeb','refs/heads/main','push','','.runner/workflows/ci.yml','.runner/workflows/ci.yml',2,1,'[]',1795704436578557,'','{}','{"group": "deploy", "key": "DEPLOY", "cancels": false, "queues": true, "called": false, "state": "held", "reason": ""}');
INSERT INTO "runs" VALUES(3,'01a21853-4b19-7c04-af88-cabf0bda5dde','git','octo/hello','f94aa9086e761d07caa1d4c65cd8613985223aeb','refs/heads/main','push','','.runner/workflows/ci.yml','.runner/workflows/ci.yml',3,1,'[]',1795704447615289,'','{}','{"group": "deploy", "key": "DEPLOY", "cancels": false, "queues": true, "called": false, "state": "waiting", "reason": ""}');
INSERT INTO "runs" VALUES(4,'01a21853-4b29-7873-bbfa-9772f3dae5f8','git','octo/hello','34a35e4bcbfaf5806603b9ae5488e94a9b066d6a','refs/heads/main','push','','.runner/workflows/ci.yml','.runner/workflows/ci.yml',4,1,'[]',1795704447682156,'','{}',NULL);
INSERT INTO "runs" VALUES(5,'01a21853-635f-7b64-9555-1cbeb3bbefc6','git','octo/hello','736886c2bc80bc89b6e8616f6b1ff991a0bd4648','refs/heads/main','push','','.runner/workflows/ci.yml','.runner/workflows/ci.yml',5,1,'[]',1795704453709141,'','{}',NULL);
INSERT INTO "runs" VALUES(6,'01a21853-7a7f-7a73-acb4-b89308ac950a','git','octo/hello','be5a16cfbf79e71f3d0c1c00c2c77e9f6abfcd43','refs/heads/main','push','','.runner/workflows/ci.yml','.runner/workflows/ci.yml',6,1,'[]',1795704459843810,'','{}',NULL);
CREATE TABLE schedules (
	id INTEGER NOT NULL, 
	forge VARCHAR(32) NOT NULL, 
	repo VARCHAR(255) NOT NULL, 
	workflow TEXT NOT NULL, 
	cron TEXT NOT NULL, 
	timezone TEXT NOT NULL, 
	due_at BIGINT, 
	PRIMARY KEY (id), 
	UNIQUE (forge, repo, workflow, cron, timezone)
);
INSERT INTO "schedules" VALUES(1,'git','octo/hello','.runner/workflows/ci.yml','30 5 * * *','Europe/Berlin',1795753800000000);
CREATE TABLE secrets (
	repository INTEGER NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	"key" VARCHAR(16) NOT NULL, 
	sealed BLOB NOT NULL, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	PRIMARY KEY (repository, name), 
	FOREIGN KEY(repository) REFERENCES repositories (id)
);
INSERT INTO "secrets" VALUES(1,'TOKEN','9a5eefa4b269fa03',X'B6A490E29334FEFB1831C8EAEEDA721FC4A1E61927B3A4F8D09162A3B120660152E54C344CEDD1561A',1795704423716278,1795704423716278);
CREATE TABLE standings (
	forge VARCHAR(32) NOT NULL, 
	repo VARCHAR(255) NOT NULL, 
	revision INTEGER NOT NULL, 
	"commit" VARCHAR(40) NOT NULL, 
	events JSON NOT NULL, 
	PRIMARY KEY (forge, repo)
);
INSERT INTO "standings" VALUES('git','octo/hello',1,'be5a16cfbf79e71f3d0c1c00c2c77e9f6abfcd43','[]');
CREATE TABLE variables (
	repository INTEGER NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	value TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	PRIMARY KEY (repository, name), 
	FOREIGN KEY(repository) REFERENCES repositories (id)
);
CREATE TABLE workers (
	name VARCHAR(255) NOT NULL, 
	labels JSON NOT NULL, 
	until BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "workers" VALUES('embedded-7132','["linux"]',1795704490330010);
CREATE INDEX deliveries_due ON deliveries (ring_at);
CREATE INDEX deliveries_newest ON deliveries (received_at);
CREATE INDEX log_chunks_by_end ON log_chunks (job, attempt, step, end_at);
CREATE INDEX jobs_due ON jobs (ring_at);
CREATE INDEX jobs_of_run ON jobs (run, run_attempt, position);
CREATE INDEX schedules_due ON schedules (due_at);
CREATE INDEX places_of_run ON places (run);
CREATE INDEX places_due ON places (ring_at);
CREATE INDEX runs_of_repository ON runs (forge, repo, id);
COMMIT;
