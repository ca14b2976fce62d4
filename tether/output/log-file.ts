import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeSync,
} from "node:fs";
import type { LogConfiguration } from "../../src/link/guest-configuration.ts";
import { encodeRecord, type LogRecord, RECORD_HEADER_LENGTH, readLogFile } from "./log-record.ts";

const NAME = /^log\.(\d{1,12})$/;

/** Numbers of the log files in a directory, oldest first. */
export const logFileNumbers = (directory: string): number[] => {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch {
    // A container that never ran has no log.
    return [];
  }
  const numbers = names.map((name) => Number(NAME.exec(name)?.[1] ?? Number.NaN));
  return numbers.filter((number) => !Number.isNaN(number)).sort((a, b) => a - b);
};

export const logFilePath = (directory: string, number: number): string => `${directory}/log.${number}`;

const cutDamage = (path: string): void => {
  if (!existsSync(path)) return;
  let length = 0;
  for (const record of readLogFile(path, 0)) length += RECORD_HEADER_LENGTH + record.bytes.length;
  truncateSync(path, length);
};

export interface LogPosition {
  file: number;
  offset: number;
}

/** What `docker logs` reads later: appends records and rotates by size. */
export class LogWriter {
  readonly directory: string;
  readonly #limits: LogConfiguration;
  #number: number;
  #fd: number;
  #size: number;

  /** `repair`: the last run may have been cut off while writing; what is damaged at the end is dropped. */
  constructor(directory: string, limits: LogConfiguration, { repair = false } = {}) {
    this.directory = directory;
    this.#limits = limits;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.#number = logFileNumbers(directory).at(-1) ?? 0;
    const path = logFilePath(directory, this.#number);
    if (repair) cutDamage(path);
    this.#fd = openSync(path, "a", 0o600);
    this.#size = fstatSync(this.#fd).size;
  }

  get position(): LogPosition {
    return { file: this.#number, offset: this.#size };
  }

  /** Appends the records. Throws when the disk is full or broken. */
  append(records: LogRecord[]): void {
    let batch: Uint8Array[] = [];
    let length = 0;
    const flush = (): void => {
      const bytes = Buffer.concat(batch);
      for (let offset = 0; offset < bytes.length; ) offset += writeSync(this.#fd, bytes, offset);
      this.#size += bytes.length;
      batch = [];
      length = 0;
    };
    for (const record of records) {
      const encoded = encodeRecord(record);
      const { maximumSize } = this.#limits;
      if (maximumSize > 0 && this.#size + length > 0 && this.#size + length + encoded.length > maximumSize) {
        flush();
        this.#rotate();
      }
      batch.push(encoded);
      length += encoded.length;
    }
    if (length > 0) flush();
  }

  #rotate(): void {
    closeSync(this.#fd);
    this.#number++;
    this.#fd = openSync(logFilePath(this.directory, this.#number), "a", 0o600);
    this.#size = 0;
    for (const number of logFileNumbers(this.directory)) {
      if (number <= this.#number - this.#limits.maximumFiles) rmSync(logFilePath(this.directory, number));
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}
