/** Opens many connections to a unix socket that send nothing, and keeps them: a process of its own, for its open files. */
const [path = "", count = "0"] = Bun.argv.slice(2);
const RETRY_MILLISECONDS = 10;
let open = 0;
let closed = 0;
while (open < Number(count)) {
  const connecting = Bun.connect({
    unix: path,
    socket: {
      data: () => undefined,
      close: () => {
        closed++;
      },
    },
  });
  // The server's queue of connections that it has not accepted yet is full.
  const refused = await connecting.then(
    () => false,
    () => true,
  );
  if (refused) await Bun.sleep(RETRY_MILLISECONDS);
  else open++;
}
console.log(`${open} opened`);
for await (const _ of console) console.log(`${closed} closed`);
