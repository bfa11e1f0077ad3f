// cheerio: a page is loaded, queried with selectors, changed, and written as HTML and XML.
const cheerio = require('cheerio');

const $ = cheerio.load(`<!doctype html><title>Tools &amp; more</title><ul id=fruits><li class=apple>Apple<li class="orange citrus">Orange<li class=pear data-n='{"a":1}'>Pear</ul>
<table><tr><td>1<td>2</table><form><input name=q value="ä&quot;"><input type=checkbox name=c checked><select name=s><option value=1>x<option value=2 selected>y</select></form>`);
console.log($('title').text(), $('li').length, $('ul > .orange.citrus').next().text(), $('li:not(.apple):first').attr('class'));
console.log($('li').map((i, e) => `${i}:${$(e).text().trim()}`).get(), $('.pear').data('n'), $('li:contains("ran")').index(), $('li').toArray().map(e => e.name));
console.log($('form').serializeArray(), $('form').serialize(), $('select').val(), $('tbody').length, $('input').is(':checked'));
$('.apple').addClass('red').removeClass('apple').attr('title', '<"quoted">').after('<li>Plum &lt;3</li>');
$('#fruits').prepend($('.pear')).find('li').last().wrap('<b></b>').end().eq(1).replaceWith('<hr>');
$('td').each((i, cell) => { $(cell).text(Number($(cell).text()) * 10).css({ color: 'red', 'font-size': '1px' }); });
console.log($.html($('#fruits')), $('table').html());
console.log($('#fruits').children().filter((i, e) => e.name === 'hr').length, $('li').closest('ul').prop('tagName'), $.text());
console.log($.extract({ cells: ['td'], name: { selector: 'input', value: 'name' } }));
const xml = cheerio.load('<r xmlns:x="u"><x:item id="1"/><item><![CDATA[<raw>]]></item></r>', { xml: true });
console.log(xml.xml(), xml('x\\:item').attr('id'), xml('item').last().text(), cheerio.load('<p>frag', null, false).html());
