/** The playground: the frame, and the tabs in it. */

import "./shell/base.css";
import "./shell/layout.css";
import "./shell/controls.css";
import "./shell/pane.css";

import { setUpCatalogue } from "./reading/catalogue.js";
import { setUpTabs } from "./shell/tabs.js";
import { setUpTheme } from "./shell/theme.js";
import { TABS } from "./tabs.js";

setUpTheme();
setUpTabs(TABS);
void setUpCatalogue();
