// express: routes, middleware, parameters, bodies, static files, errors and redirects, asked by http on the loopback.
const express = require('express');
const fs = require('fs');
const http = require('http');
const os = require('os');
const path = require('path');

process.env.NODE_ENV = 'test';
const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'express-'));
fs.writeFileSync(path.join(directory, 'page.html'), '<p>static</p>');
const app = express();
app.disable('x-powered-by').set('etag', 'strong').engine('tpl', (file, options, done) => done(null, `<${options.title}>`)).set('view engine', 'tpl').set('views', directory);
fs.writeFileSync(path.join(directory, 'view.tpl'), '');
app.use((request, response, next) => { response.set('X-Order', 'first'); next(); }, express.json({ limit: '1kb' }), express.urlencoded({ extended: true }));
app.use('/files', express.static(directory, { index: false, lastModified: false }));
const api = express.Router({ mergeParams: true });
api.param('id', (request, response, next, id) => (/^\d+$/.test(id) ? next() : next('route')));
api.get('/item/:id', (request, response) => response.json({ id: request.params.id, user: request.params.user, query: request.query, ip: request.ip }));
api.route('/item').post((request, response) => response.status(201).location('/x').send(request.body)).delete((request, response) => response.sendStatus(204));
app.use('/api/:user', api);
app.get('/view', (request, response) => response.render('view', { title: 'rendered' }));
app.get('/go', (request, response) => response.cookie('seen', 'a b', { httpOnly: true }).redirect(301, '/view'));
app.get(/^\/r(e+)gex$/, (request, response) => response.type('text').send(String(request.params[0].length)));
app.get('/fail', async (request, response, next) => next(Object.assign(new Error('broken'), { status: 503 })));
app.use((error, request, response, next) => response.status(error.status || 500).json({ error: error.message, type: error.type }));

const ask = (port, method, url, body, type = 'application/json') => new Promise((resolve, reject) => {
  const request = http.request({ port, method, path: url, host: '127.0.0.1', agent: false, headers: body ? { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) } : {} }, response => {
    let text = '';
    response.setEncoding('utf8').on('data', part => (text += part)).on('end', () => resolve([method, url, response.statusCode, response.headers['content-type'], response.headers.location, response.headers['set-cookie'], response.headers['x-order'], text.slice(0, 120)]));
  });
  request.on('error', reject).end(body);
});

const server = app.listen(0, '127.0.0.1', async () => {
  const { port } = server.address();
  for (const args of [['GET', '/api/ada/item/7?a[b]=1&c=2'], ['GET', '/api/ada/item/x'], ['POST', '/api/ada/item', '{"k":[1]}'], ['POST', '/api/ada/item', 'a=1&b[]=2', 'application/x-www-form-urlencoded'], ['POST', '/api/ada/item', '{bad'],
    ['POST', '/api/ada/item', JSON.stringify('x'.repeat(2000))], ['DELETE', '/api/ada/item'], ['GET', '/files/page.html'], ['GET', '/files/../express.js'], ['HEAD', '/files/page.html'], ['GET', '/view'], ['GET', '/go'], ['GET', '/reeegex'], ['GET', '/fail']]) {
    console.log(JSON.stringify(await ask(port, ...args)));
  }
  server.close(() => fs.rmSync(directory, { recursive: true }));
});
