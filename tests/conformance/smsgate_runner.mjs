// Runs npm's android-sms-gateway against a router and prints what it was told, as JSON.
// Arguments: the client's file, the API's address, login, password, a number, an address for webhooks.

const [file, baseUrl, login, password, number, hook] = process.argv.slice(2);
const { default: Client, ProcessState, HealthStatus, WebHookEventType } = await import(file);

const call = async (method, url, body, headers) => {
  const answer = await fetch(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await answer.text();
  if (!answer.ok) throw Object.assign(new Error(text), { status: answer.status });
  return text ? JSON.parse(text) : undefined;
};
const http = {
  get: (url, headers) => call("GET", url, undefined, headers),
  post: (url, body, headers) => call("POST", url, body, headers),
  put: (url, body, headers) => call("PUT", url, body, headers),
  patch: (url, body, headers) => call("PATCH", url, body, headers),
  delete: (url, headers) => call("DELETE", url, undefined, headers),
};
const refused = async (promise) => promise.then(() => null, (error) => ({ status: error.status, body: JSON.parse(error.message) }));
const client = new Client(login, password, http, baseUrl);
const told = {};

// A message, until it is sent
told.sent = await client.send({ message: "Hello from JS", phoneNumbers: [number], withDeliveryReport: true, priority: 100, ttl: 600 });
told.states = [];
for (let round = 0; round < 600 && told.states.at(-1)?.state !== ProcessState.Delivered; round++) {
  const state = await client.getState(told.sent.id);
  if (state.state !== told.states.at(-1)?.state) told.states.push(state);
  await new Promise((done) => setTimeout(done, 50));
}

// Twice the same, twice the same id, and what is wrong
client.defaultHeaders["Idempotency-Key"] = `js-${told.sent.id}`;
const later = { message: "later", phoneNumbers: ["12"], scheduleAt: new Date(Date.now() + 86_400_000).toISOString() };
told.once = [await client.send(later, { skipPhoneValidation: true }), await client.send(later, { skipPhoneValidation: true })];
delete client.defaultHeaders["Idempotency-Key"];
told.refused = {
  number: await refused(client.send({ message: "x", phoneNumbers: ["12"] }, { skipPhoneValidation: false })),
  id: await refused(client.send({ ...later, id: told.sent.id }, { skipPhoneValidation: true })),
  unserved: await refused(client.send({ message: "x", phoneNumbers: ["+33612345678"] })),
  unknown: await refused(client.getState("unknown")),
  password: await refused(new Client(login, "wrong", http, baseUrl).getDevices()),
  device: await refused(client.deleteDevice("d".repeat(21))),
  logs: await refused(client.getLogs(new Date(0), new Date())),
};

// Webhooks, devices, health, settings, inbox
told.webhook = await client.registerWebhook({ url: hook, event: WebHookEventType.SmsSent });
told.webhooks = await client.getWebhooks();
await client.deleteWebhook(told.webhook.id);
told.webhooksLeft = await client.getWebhooks();
told.devices = await client.getDevices();
told.healthy = (await client.getHealth()).status === HealthStatus.Pass;
await client.updateSettings({ messages: { send_interval_min: 1, send_interval_max: 5 }, webhooks: { retry_count: 3 } });
told.replaced = await client.getSettings();
await client.patchSettings({ messages: { send_interval_max: 7 } });
told.patched = await client.getSettings();
told.exported = await client.exportInbox({ deviceId: told.devices[0].id, since: new Date(Date.now() - 3_600_000), until: new Date() });
console.log(JSON.stringify(told));
