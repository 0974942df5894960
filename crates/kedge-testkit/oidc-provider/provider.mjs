// A certified OpenID provider for tests: panva's oidc-provider on a loopback port, with its own development forms.
//
//   node provider.mjs FOLDER OPTIONS
//
// FOLDER holds node_modules. OPTIONS is JSON: { port, algorithm, clientId, tokenLife, people: { NAME: CLAIMS } }, and for
// a machine that others ask { host, url, tls: { key, cert } }: where it listens, what it calls itself, and two files.
// It says `ready URL` on stdout, reads commands from stdin, one in each line, and answers each in one line:
//
//   rotate      other signing keys from now on; what was given out stays good
//   revoke NAME ends every grant of somebody
//   requests    {"/token": 3, …} so far
//
// It ends with its stdin.

import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { readFileSync } from 'node:fs';
import { generateKeyPairSync, randomBytes, webcrypto } from 'node:crypto';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';

// What the provider expects of a newer Node, for those that distributions still ship.
globalThis.crypto ??= webcrypto;
URL.parse ??= (url, base) => {
  try {
    return new URL(url, base);
  } catch {
    return null;
  }
};

const [folder, text] = process.argv.slice(2);
const options = JSON.parse(text);
const require = createRequire(pathToFileURL(join(folder, 'package.json')));
const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));

// One store for every instance, so that a change of keys forgets nothing.
const store = new Map();

class Store {
  constructor(model) {
    this.model = model;
  }

  key(id) {
    return `${this.model}:${id}`;
  }

  async upsert(id, payload, expiresIn) {
    store.set(this.key(id), { ...payload, until: expiresIn ? Date.now() + expiresIn * 1000 : Infinity });
  }

  async find(id) {
    const found = store.get(this.key(id));
    return found && found.until > Date.now() ? found : undefined;
  }

  async findBy(field, value) {
    for (const [key, payload] of store) {
      if (key.startsWith(`${this.model}:`) && payload[field] === value && payload.until > Date.now()) {
        return payload;
      }
    }
    return undefined;
  }

  async findByUid(uid) {
    return this.findBy('uid', uid);
  }

  async findByUserCode(userCode) {
    return this.findBy('userCode', userCode);
  }

  async consume(id) {
    const found = store.get(this.key(id));
    if (found) {
      found.consumed = Math.floor(Date.now() / 1000);
    }
  }

  async destroy(id) {
    store.delete(this.key(id));
  }

  async revokeByGrantId(grantId) {
    for (const [key, payload] of store) {
      if (payload.grantId === grantId) {
        store.delete(key);
      }
    }
  }
}

function keys() {
  const kinds = [
    ['rsa', { modulusLength: 2048 }, {}],
    ['ec', { namedCurve: 'P-256' }, { alg: 'ES256' }],
    ['ec', { namedCurve: 'P-384' }, { alg: 'ES384' }],
    ['ed25519', {}, { alg: 'EdDSA' }],
  ];
  return kinds.map(([kind, size, more]) => ({
    ...generateKeyPairSync(kind, size).privateKey.export({ format: 'jwk' }),
    kid: randomBytes(6).toString('hex'),
    use: 'sig',
    ...more,
  }));
}

const algorithms = ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'];

function provider(url) {
  const instance = new Provider(url, {
    adapter: Store,
    jwks: { keys: keys() },
    clients: [
      {
        client_id: options.clientId,
        application_type: 'native',
        token_endpoint_auth_method: 'none',
        grant_types: [
          'authorization_code',
          'refresh_token',
          'urn:ietf:params:oauth:grant-type:device_code',
        ],
        response_types: ['code'],
        // Any port will do for a native application (RFC 8252, 7.3); the path must be the same.
        redirect_uris: options.redirects,
        id_token_signed_response_alg: options.algorithm,
        require_auth_time: true,
      },
    ],
    cookies: { keys: [randomBytes(16).toString('hex')] },
    scopes: ['openid', 'offline_access', 'profile', 'email', 'groups'],
    claims: {
      openid: ['sub'],
      profile: ['preferred_username', 'name', 'department'],
      email: ['email', 'email_verified'],
      groups: ['groups', 'roles'],
    },
    // The claims of the scopes are in the ID token itself, as most providers have it.
    conformIdTokenClaims: false,
    async findAccount(ctx, name) {
      const claims = options.people[name];
      return claims && { accountId: name, claims: async () => ({ ...claims, sub: name }) };
    },
    features: {
      devInteractions: { enabled: true },
      deviceFlow: { enabled: true },
      revocation: { enabled: true },
    },
    enabledJWA: { idTokenSigningAlgValues: algorithms },
    pkce: { required: () => true },
    rotateRefreshToken: true,
    ttl: {
      AccessToken: 3600,
      AuthorizationCode: 60,
      DeviceCode: 600,
      Grant: 86400,
      IdToken: options.tokenLife,
      Interaction: 600,
      RefreshToken: 86400,
      Session: 86400,
    },
  });
  return instance;
}

const requests = {};
let serve = (request, response) => response.writeHead(503).end();
const answer = (request, response) => {
  const path = request.url.split('?')[0];
  requests[path] = (requests[path] ?? 0) + 1;
  serve(request, response);
};
const { tls } = options;
const server = tls
  ? createTlsServer({ key: readFileSync(tls.key), cert: readFileSync(tls.cert) }, answer)
  : createServer(answer);
// A connection that is kept would outlive the instance that answers it.
server.keepAliveTimeout = 1;
await new Promise((resolve) => server.listen(options.port, options.host ?? '127.0.0.1', resolve));
const url = options.url ?? `http://127.0.0.1:${server.address().port}`;
serve = provider(url).callback();

const say = (line) => process.stdout.write(`${line}\n`);
let answers = 0;
const commands = createInterface({ input: process.stdin });
commands.on('line', (line) => {
  const [command, ...rest] = line.trim().split(' ');
  answers += 1;
  if (command === 'rotate') {
    serve = provider(url).callback();
    say(`${answers} rotated`);
  } else if (command === 'revoke') {
    const name = rest.join(' ');
    let revoked = 0;
    for (const [key, payload] of store) {
      if (payload.accountId === name && !key.startsWith('Session:')) {
        store.delete(key);
        revoked += 1;
      }
    }
    say(`${answers} revoked ${revoked}`);
  } else if (command === 'requests') {
    say(`${answers} requests ${JSON.stringify(requests)}`);
  } else {
    say(`${answers} unknown`);
  }
});
commands.on('close', () => process.exit(0));
say(`ready ${url}`);
