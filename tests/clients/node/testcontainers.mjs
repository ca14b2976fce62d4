// A session of testcontainers, as an integration test would have it. Argument: image.
import assert from "node:assert/strict";
import { GenericContainer, Wait } from "testcontainers";

const [image] = process.argv.slice(2);
const container = await new GenericContainer(image)
  .withCommand(["sh", "-c", "mkdir -p /www; echo served > /www/index.html; echo ready; exec httpd -f -p 8080 -h /www"])
  .withExposedPorts(8080)
  .withEnvironment({ MODE: "test" })
  .withWaitStrategy(Wait.forLogMessage("ready"))
  .withStartupTimeout(240_000)
  .start();
try {
  const address = `http://${container.getHost()}:${container.getMappedPort(8080)}/index.html`;
  let body;
  for (let attempt = 0; attempt < 50 && body === undefined; attempt++) {
    body = await fetch(address).then(
      (response) => response.text(),
      () => new Promise((resolve) => setTimeout(resolve, 200)),
    );
  }
  assert.equal(body, "served\n");
  const { output, exitCode } = await container.exec(["sh", "-c", "echo $MODE"]);
  assert.deepEqual([output.trim(), exitCode], ["test", 0]);
  await container.copyContentToContainer([{ content: "copied", target: "/www/copied" }]);
  assert.equal(await (await fetch(address.replace("index.html", "copied"))).text(), "copied");
} finally {
  // Seconds, in this version.
  await container.stop({ timeout: 1 });
}
console.log("session complete");
