// An OIDC identity provider with a client, a user, tokens that end soon, and one resource that asks for them.
import { createServer } from 'node:http';

import Provider, { errors } from 'oidc-provider';

const { port, client, secret, user, password, seconds } = JSON.parse(process.env.IDENTITY_PROVIDER);
const host = '127.0.0.1';

const provider = new Provider(`http://${host}:${port}`, {
  clients: [{
    client_id: client,
    client_secret: secret,
    grant_types: ['client_credentials', 'password', 'refresh_token'],
    redirect_uris: [],
    response_types: [],
    token_endpoint_auth_method: 'client_secret_post',
  }],
  clockTolerance: 0,
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
  },
  findAccount: (_, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
  rotateRefreshToken: true,
  scopes: ['openid', 'offline_access'],
  ttl: { AccessToken: seconds, ClientCredentials: seconds, Grant: 3600, RefreshToken: 3600 },
});

provider.registerGrantType('password', async (ctx) => {
  const { client: asking, params } = ctx.oidc;
  if (params.username !== user || params.password !== password) {
    throw new errors.InvalidGrant('invalid user credentials');
  }
  const grant = new provider.Grant({ accountId: user, clientId: asking.clientId });
  grant.addOIDCScope('openid offline_access');
  const grantId = await grant.save();
  const about = { accountId: user, client: asking, grantId, gty: 'password', scope: 'openid offline_access' };
  const accessToken = new provider.AccessToken(about);
  const refreshToken = new provider.RefreshToken(about);
  ctx.body = {
    access_token: await accessToken.save(),
    expires_in: accessToken.expiration,
    refresh_token: await refreshToken.save(),
    scope: accessToken.scope,
    token_type: accessToken.tokenType,
  };
}, ['username', 'password', 'scope']);

provider.on('server_error', (_, error) => console.error(error));

const answer = provider.callback();

async function protectedResource(request, response) {
  const [, token] = /^Bearer (.+)$/.exec(request.headers.authorization ?? '') ?? [];
  const known = token && (await provider.AccessToken.find(token) ?? await provider.ClientCredentials.find(token));
  const body = known ? { subject: known.accountId ?? known.clientId } : { detail: 'invalid_token' };
  const headers = { 'content-type': 'application/json' };
  if (!known) headers['www-authenticate'] = 'Bearer error="invalid_token"';
  response.writeHead(known ? 200 : 401, headers).end(JSON.stringify(body));
}

createServer((request, response) => {
  if (request.url === '/protected') protectedResource(request, response);
  else answer(request, response);
}).listen(port, host);
