// axios: requests to a server in the same process on the loopback: JSON, forms, interceptors, redirects, errors, aborts.
const axios = require('axios');
const http = require('http');

const server = http.createServer((request, response) => {
  let body = '';
  request.on('data', part => (body += part));
  request.on('end', () => {
    if (request.url === '/redirect') return response.writeHead(302, { Location: '/echo?from=redirect' }).end();
    if (request.url === '/never') return;
    const status = request.url.startsWith('/fail') ? 418 : 200;
    response.writeHead(status, { 'Content-Type': 'application/json', 'X-Kind': 'test' });
    response.end(JSON.stringify({ method: request.method, url: request.url, type: request.headers['content-type'], auth: request.headers.authorization, body }));
  });
});

server.listen(0, '127.0.0.1', async () => {
  const client = axios.create({ baseURL: `http://127.0.0.1:${server.address().port}`, timeout: 20000, proxy: false });
  client.interceptors.request.use(config => { config.headers.set('X-Seen', '1'); return config; });
  client.interceptors.response.use(response => { response.data.intercepted = true; return response; });
  const show = async (name, promise) => {
    try {
      const { status, data, headers } = await promise;
      console.log(name, status, headers['x-kind'], JSON.stringify(data));
    } catch (error) {
      console.log(name, error.code, error.response?.status, axios.isCancel(error), error.response?.data?.method);
    }
  };
  await show('get', client.get('/echo', { params: { a: [1, 2], b: 'ä &' }, auth: { username: 'u', password: 'p' } }));
  await show('post', client.post('/echo', { k: [1, null, 'ü'] }));
  await show('form', client.post('/echo', new URLSearchParams({ x: '1 2', y: '&' })));
  await show('redirect', client.get('/redirect'));
  await show('fail', client.delete('/fail'));
  await show('accepted', client.put('/fail', 'text', { validateStatus: () => true, transformRequest: [text => text.toUpperCase()] }));
  const stop = new AbortController();
  const never = show('abort', client.get('/never', { signal: stop.signal }));
  setTimeout(() => stop.abort(), 20);
  await never;
  await show('timeout', client.get('/never', { timeout: 30 }));
  const all = await Promise.all([1, 2, 3].map(n => client.get(`/n/${n}`).then(r => r.data.url)));
  console.log(all, axios.getUri({ url: '/x', params: { q: [1, 2] } }), axios.AxiosError.name);
  server.closeAllConnections();
  server.close(() => console.log('closed'));
});
