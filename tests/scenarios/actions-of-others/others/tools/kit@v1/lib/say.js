exports.say = (name) => `hello ${name}`;
