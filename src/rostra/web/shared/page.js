// A page that only says something: its words in the reader's language, and the switch.

import { $, show } from './dom.js';
import { languageSwitch, useLanguage } from './words.js';

await useLanguage();
languageSwitch($('language'));
show($('language'), true);
