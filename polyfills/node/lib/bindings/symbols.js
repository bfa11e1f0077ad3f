'use strict';
Object.assign(exports, load('symbols').symbols);
