const fs = require("fs");
const name = process.env.INPUT_NAME;
fs.appendFileSync(process.env.GITHUB_STATE, `name=${name}\n`);
fs.appendFileSync(process.env.GITHUB_OUTPUT, `greeting=hello from ${name}\n`);
fs.appendFileSync(process.env.GITHUB_ENV, `FROM_NODE=${name}\n`);
console.log(`::notice::main of ${name}, ${process.env.INPUT_SILENT}`);
if (name === "bad") process.exit(3);
