(function(d){var t=d.getElementById("as-of"),o=d.getElementById("old"),l=d.getElementById("live"),w
function age(){var m=Math.floor((Date.now()-Date.parse(t.dateTime))/6e4);o.hidden=m<3
o.textContent="This page is "+m+" minutes old: the monitor does not run, or a clock is wrong."}
function live(){clearTimeout(w);var on=location.hash=="#live";l.href=on?"#":"#live"
l.textContent=on?"Stop reloading":"Reload every minute";if(on)w=setTimeout(function(){location.reload()},6e4)}
if(o){age();setInterval(age,1e4);l.hidden=false;live();addEventListener("hashchange",live)}})(document)
