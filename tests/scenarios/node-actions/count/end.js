console.log(`post of ${process.env.STATE_name}, ${process.env.INPUT_NAME}, ${process.env.FROM_NODE}`);
