import { resolve } from "node:path";
import { Command } from "commander";
import { CertificateAuthority, type CertificateDescription } from "../ca/index.ts";
import { statePaths } from "../machine/paths.ts";
import { stateCommand } from "./command.ts";

function print(title: string, certificate: CertificateDescription | undefined): void {
  if (certificate === undefined) return;
  console.log(`${title}\n  subject   ${certificate.subject}`);
  if (certificate.names.length > 0) console.log(`  names     ${certificate.names.join(", ")}`);
  console.log(`  valid     ${certificate.notBefore.toISOString()} to ${certificate.notAfter.toISOString()}`);
  console.log(`  SHA-256   ${certificate.fingerprint}`);
}

export function caCommand(): Command {
  const show = stateCommand("show", "show the authority and the endpoint's certificate")
    .option("--json", "print JSON")
    .action(async (options: { state: string; json?: boolean }) => {
      const description = await (await CertificateAuthority.load(statePaths(options.state).authority)).inspect();
      if (options.json) console.log(JSON.stringify(description, undefined, 2));
      else {
        print("Authority", description.authority);
        print("Server", description.server);
      }
    });
  const create = stateCommand("create", "make the authority (`vch up` does so by itself)")
    .option("--name <name>", "common name of the authority")
    .option("--organisation <name>", "organisation of the authority")
    .action(async (options: { state: string; name?: string; organisation?: string }) => {
      const { authority } = statePaths(options.state);
      await CertificateAuthority.create(authority, { commonName: options.name, organisation: options.organisation });
      console.log(`Authority made in ${authority}`);
    });
  const server = stateCommand(
    "server",
    "issue the endpoint's certificate for more names; restart `vch serve` to use it",
  )
    .argument("<names...>", "DNS names and IP addresses")
    .action(async (names: string[], options: { state: string }) => {
      const { authority } = statePaths(options.state);
      await (await CertificateAuthority.load(authority)).issueServer(names);
      console.log(`Server certificate for ${names.join(", ")} written to ${authority}`);
    });
  const client = stateCommand("client", "issue a client certificate: a folder for DOCKER_CERT_PATH")
    .argument("<name>", "common name, such as the user's")
    .requiredOption("--out <directory>", "folder for ca.pem, cert.pem and key.pem")
    .option("--organisation <name>", "organisation in the subject")
    .action(async (name: string, options: { state: string; out: string; organisation?: string }) => {
      const authority = await CertificateAuthority.load(statePaths(options.state).authority);
      const directory = resolve(options.out);
      await authority.issueClient({ commonName: name, organisation: options.organisation, directory });
      console.log(
        `Client certificate for ${name} written. Use it with: export DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH=${directory}`,
      );
    });
  return new Command("ca")
    .description("certificates: the authority, the endpoint's and the clients'")
    .addCommand(show)
    .addCommand(create)
    .addCommand(server)
    .addCommand(client);
}
