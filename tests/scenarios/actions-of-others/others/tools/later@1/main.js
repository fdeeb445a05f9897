console.log(`later for ${process.env.INPUT_NAME}`);
