console.log(`post for ${process.env.INPUT_NAME}, begun as ${process.env.STATE_began}, main ${process.env.STATE_main}`);
