'use strict';
Object.assign(exports, { writeReport() { throw new Error('reports are not available'); }, getReport() { throw new Error('reports are not available'); },
  getCompact: () => false, setCompact() {}, getDirectory: () => '', setDirectory() {}, getFilename: () => '', setFilename() {}, getSignal: () => 'SIGUSR2', setSignal() {},
  shouldReportOnFatalError: () => false, setReportOnFatalError() {}, shouldReportOnSignal: () => false, setReportOnSignal() {},
  shouldReportOnUncaughtException: () => false, setReportOnUncaughtException() {} });
