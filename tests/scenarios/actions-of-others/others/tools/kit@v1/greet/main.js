const fs = require("fs");
const { say } = require("../lib/say");
const { INPUT_NAME, STATE_began, GITHUB_ACTION_REPOSITORY, GITHUB_ACTION_REF } = process.env;
console.log(`${say(INPUT_NAME)}, begun as ${STATE_began}, of ${GITHUB_ACTION_REPOSITORY}@${GITHUB_ACTION_REF}`);
fs.appendFileSync(process.env.GITHUB_OUTPUT, `greeting=${say(INPUT_NAME)}\n`);
fs.appendFileSync(process.env.GITHUB_STATE, "main=done\n");
