import {
  answers,
  decodeRequest,
  type EncodeOptions,
  EncodingError,
  encodeFault,
  encodeResponse,
  type MethodFault,
  type MethodInfo,
  type Request,
  WireError,
} from "../../vsphere/vim25/index.ts";
import { asFault, LabFault } from "../fault.ts";
import type { Reference } from "../model/data.ts";
import type { Call, ManagedObject } from "../model/managed-object.ts";
import type { Registry } from "../model/registry.ts";
import { checkPropertyPath, requireReadable, typedPropertyValue } from "../model/schema.ts";
import { followPath, parsePropertyPath } from "../property/path.ts";
import { withoutUnencodable } from "../property/unencodable.ts";
import { DYNAMIC_PRIVILEGES } from "../session/dynamic-privileges.ts";
import { requireUserPrivilege } from "../session/privileges.ts";
import type { Session } from "../session/sessions.ts";

/** Methods without a declared privilege that check what they need themselves, or whose object is the caller's own. */
const OWN_OBJECT_METHODS = new Set([
  "DestroyPropertyFilter",
  "ModifyListView",
  "ResetListView",
  "ResetListViewFromView",
  "DestroyCollector",
  "SetCollectorPageSize",
  "RewindCollector",
  "ResetCollector",
  "ReadNextEvents",
  "ReadPreviousEvents",
  "ReadNextTasks",
  "ReadPreviousTasks",
  "HttpNfcLeaseAbort",
  "HttpNfcLeaseComplete",
  "HttpNfcLeaseGetManifest",
  "HttpNfcLeaseProgress",
  "HttpNfcLeaseSetManifestChecksumType",
  // Checked on the datastore that the path names.
  "CopyDatastoreFile_Task",
  "DeleteDatastoreFile_Task",
  "MakeDirectory",
  "CreateDirectory",
  "DeleteDirectory",
  "MoveDatastoreFile_Task",
  "SearchDatastoreSubFolders_Task",
  "SearchDatastore_Task",
  // Their privileges are those of their parameters.
  "SetEntityPermissions",
  "RemoveEntityPermission",
  "ResetEntityPermissions",
  "RetrieveEntityPermissions",
  "FetchUserPrivilegeOnEntities",
  "HasUserPrivilegeOnEntities",
  "SetField",
  "LogUserEvent",
  "ValidateCredentialsInGuest",
  "ListProcessesInGuest",
  "StartProgramInGuest",
  "TerminateProcessInGuest",
  "ReadEnvironmentVariableInGuest",
  "ListFilesInGuest",
  "MakeDirectoryInGuest",
  "MoveFileInGuest",
  "MoveDirectoryInGuest",
  "DeleteFileInGuest",
  "DeleteDirectoryInGuest",
  "CreateTemporaryFileInGuest",
  "CreateTemporaryDirectoryInGuest",
  "ChangeFileAttributesInGuest",
  "InitiateFileTransferFromGuest",
  "InitiateFileTransferToGuest",
  "RetrieveUserGroups",
]);

export interface Reply {
  status: 200 | 500;
  body: string;
}

/** Takes a SOAP request to the method of the object that it names, after checking who may call it. */
export class Dispatcher {
  constructor(
    private readonly registry: Registry,
    private readonly serverVersion: string,
    private readonly log: (line: string) => void,
  ) {}

  async handle(text: string, soapAction: string | undefined, call: Omit<Call, "method">): Promise<Reply> {
    let request: Request;
    try {
      request = decodeRequest(text, { soapAction, serverVersion: this.serverVersion });
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      const options = {
        version: this.serverVersion,
        faultCode: "ClientFaultCode",
        invalidCharacters: "replace",
      } as const;
      return { status: 500, body: encodeFault({ _type: "InvalidRequest" }, error.message, options) };
    }
    const options = { version: request.version, invalidCharacters: "replace" } as const;
    try {
      const result = await this.#invoke(request, Object.assign(call, { method: request.method }));
      return { status: 200, body: this.#encode(request, result, options) };
    } catch (error) {
      const fault = asFault(error);
      if (!(error instanceof LabFault)) this.log(`${request.method} failed: ${describe(error)}`);
      const detail = { ...fault.fields, _type: fault.fault } as MethodFault;
      return { status: 500, body: encodeFault(detail, fault.message, options) };
    }
  }

  #encode(request: Request, result: unknown, options: EncodeOptions): string {
    try {
      return encodeResponse(request.method, result as never, options);
    } catch (error) {
      if (!(error instanceof EncodingError) || request.this.type !== "PropertyCollector") throw error;
      this.log(`${request.method} cannot tell a property: ${error.message}`);
      return encodeResponse(request.method, withoutUnencodable(result) as never, options);
    }
  }

  async #invoke(request: Request, call: Call): Promise<unknown> {
    const { info } = request;
    if (info.privilege !== "System.Anonymous" && !call.session) {
      throw new LabFault("NotAuthenticated", "The session is not authenticated.", {
        object: request.this,
        privilegeId: info.privilege || "System.View",
      });
    }
    const object = this.registry.get(request.this);
    if (!answers(request.this.type, info)) {
      throw new LabFault("MethodNotFound", `Method ${info.name} not found on ${request.this.type}`, {
        receiver: request.this,
        method: info.name,
      });
    }
    const end = call.session?.beginCall();
    try {
      if (info.name === "Fetch" && call.session) requireUserPrivilege(call.session.user, request.this, "System.View");
      if (info.name === "Fetch") return fetchProperty(object, request, call.session);
      return await this.#call(object, request, call);
    } finally {
      end?.();
    }
  }

  #call(object: ManagedObject, request: Request, call: Call): unknown {
    const { info } = request;
    const parameters = request.parameters as Record<string, unknown>;
    if (call.session) requirePrivileges(info, request.this, parameters, call.session);
    const method = object.findMethod(info.name);
    if (!method) {
      throw new LabFault(
        "NotSupported",
        `The operation is not supported on the object: ${info.name} is not offered by the lab.`,
      );
    }
    return method(parameters, call);
  }
}

function fetchProperty(object: ManagedObject, request: Request, session: Session | undefined): unknown {
  const path = String((request.parameters as { prop?: string }).prop);
  const segments = parsePropertyPath(path);
  const { type } = object.reference;
  checkPropertyPath(type, path);
  requireReadable(type, segments[0].name, session);
  return typedPropertyValue(type, path, followPath(object.read(segments[0].name, session), segments));
}

/** The method's privilege on its object, and the parameters' on theirs. NoPermission otherwise. */
function requirePrivileges(
  info: MethodInfo,
  target: Reference,
  parameters: Record<string, unknown>,
  session: Session,
): void {
  const require = (object: Reference, privilege: string): void => requireUserPrivilege(session.user, object, privilege);
  if (info.privilege !== "") require(target, info.privilege);
  else {
    const dynamic = DYNAMIC_PRIVILEGES[info.name];
    if (dynamic) for (const privilege of dynamic(parameters, target)) require(target, privilege);
    else if (!OWN_OBJECT_METHODS.has(info.name)) require(target, `${target.type}.${info.vmodlName}`);
  }
  for (const parameter of info.parameters) {
    const value = parameters[parameter.name];
    if (parameter.privilege === "" || value === undefined) continue;
    for (const object of Array.isArray(value) ? value : [value]) require(object as Reference, parameter.privilege);
  }
}

const describe = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : String(error));
