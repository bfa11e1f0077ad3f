console.log('nothing');
