const fs = require("fs");
console.log(`pre for ${process.env.INPUT_NAME}`);
fs.appendFileSync(process.env.GITHUB_ENV, "FROM_PRE=pre of greet\n");
fs.appendFileSync(process.env.GITHUB_STATE, `began=${process.env.INPUT_NAME || "early"}\n`);
