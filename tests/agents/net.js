// Talks with the server of the test at HOST PORT.
const net = require('net');
const [host, port] = process.argv.slice(2);
const socket = net.connect({ host, port: Number(port), allowHalfOpen: true }, () => {
  const data = Buffer.alloc(300000, 'abc');
  socket.end(Buffer.concat([Buffer.from('echo\n'), data]));
  const parts = [];
  socket.on('data', (part) => parts.push(part));
  socket.on('end', () => console.log('echo', Buffer.concat(parts).equals(data)));
});
