/** `GET /sdk/vimServiceVersions.xml`: which API versions the endpoint speaks. Clients read it before they log in. */

/** Versions up to 8.0.2.0, newest first. */
const VERSIONS = [
  "8.0.2.0",
  "8.0.1.0",
  "8.0.0.1",
  "7.0.3.2",
  "7.0.3.1",
  "7.0.3.0",
  "7.0.2.1",
  "7.0.2.0",
  "7.0.1.1",
  "7.0.1.0",
  "7.0.0.2",
  "7.0.0.0",
  "6.9.1",
  "6.8.7",
  "6.7.3",
  "6.7.2",
  "6.7.1",
  "6.7",
  "6.5",
  "6.0",
  "5.5",
  "5.1",
  "5.0",
  "4.1",
  "4.0",
  "2.5u2",
  "2.5",
];

export const API_VERSION = "8.0.2.0";

export function serviceVersionsXml(): string {
  const prior = VERSIONS.slice(1).map((version) => `<version>${version}</version>`);
  return (
    '<?xml version="1.0" encoding="UTF-8"?>\n<namespaces version="1.0"><namespace><name>urn:vim25</name>' +
    `<version>${API_VERSION}</version><priorVersions>${prior.join("")}</priorVersions></namespace></namespaces>\n`
  );
}
