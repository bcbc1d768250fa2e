import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { Ask } from "./Ask.jsx";
import "./page.css";

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <Ask />
  </StrictMode>,
);
