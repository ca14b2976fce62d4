const { argv } = process;
if (argv[2] === "file-server") {
  // One of these runs for each container with bind mounts: it loads its own code alone.
  const { serveFiles } = await import("./src/cli/file-server.ts");
  await serveFiles();
} else {
  // Has to be there before what needs it; a bundle loads the rest in an order of its own.
  await import("reflect-metadata");
  const { runCommandLine } = await import("./src/cli/index.ts");
  process.exitCode = await runCommandLine(argv.slice(2));
}
