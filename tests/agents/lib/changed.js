module.exports = 'as built';
