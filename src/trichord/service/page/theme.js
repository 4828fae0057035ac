// Dark, light, or as the system.

const NEXT = { "": "light", light: "dark", dark: "" };
const NAMES = { "": "as the system", light: "light", dark: "dark" };

/** Let a button cycle through the three, and store the choice. */
export function attendTheme(button) {
  const show = (theme) => {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    button.setAttribute("aria-label", `Colours: ${NAMES[theme]}`);
    button.title = `Colours: ${NAMES[theme]}`;
  };
  const kept = localStorage.getItem("theme") ?? "";
  let theme = Object.hasOwn(NEXT, kept) ? kept : "";
  show(theme);
  button.addEventListener("click", () => {
    theme = NEXT[theme];
    localStorage.setItem("theme", theme);
    show(theme);
  });
}
