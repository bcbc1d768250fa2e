/** The tabs in their order: one more is a file that exports a `Tab`, and a line here. */

import { breakIt } from "./breakit/tab.js";
import { chat } from "./chat/tab.js";
import { compare } from "./compare/tab.js";
import { doctor } from "./doctor/tab.js";
import type { Tab } from "./shell/tabs.js";
import { waterfall } from "./waterfall/tab.js";

export const TABS: Tab[] = [compare, chat, breakIt, waterfall, doctor];
